/** How many tokens a second `pipeline serve` answers with, for one client and for several at once: `node bench/serve.ts [words of pipeline serve]`. */
import { spawn } from "node:child_process"
import { join } from "node:path"

const tokens = 96
const clients = [1, 2, 4, 8, 16, 64] as const

const launcher = join(import.meta.dirname, "..", "bin", "pipeline.mjs")
const server = spawn(process.execPath, [launcher, "serve", "--port", "0", "--json", ...process.argv.slice(2)], {
  stdio: ["ignore", "pipe", "inherit"]
})
let printed = ""
const url = await new Promise<string>((resolve, reject) => {
  server.once("exit", () => reject(new Error("the server did not start")))
  server.stdout.setEncoding("utf8").on("data", (text: string) => {
    printed += text
    if (printed.includes("\n}")) resolve((JSON.parse(printed) as { readonly url: string }).url)
  })
})

interface Answer {
  readonly usage: { readonly completion_tokens: number; readonly forward_passes: number }
}

const ask = async (seed: number): Promise<Answer["usage"]> => {
  const response = await fetch(`${url}/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "The people of the", max_tokens: tokens, temperature: 0, user: String(seed) })
  })
  if (!response.ok) throw new Error(await response.text())
  return ((await response.json()) as Answer).usage
}

try {
  for (const count of clients) {
    const round = () => Promise.all(Array.from({ length: count }, (_, i) => ask(i)))
    // Programs are compiled for the first.
    await round()
    const begun = performance.now()
    const usages = await round()
    const seconds = (performance.now() - begun) / 1000
    const made = usages.reduce((sum, usage) => sum + usage.completion_tokens, 0)
    const passes = usages.reduce((sum, usage) => sum + usage.forward_passes, 0)
    console.log(
      `${String(count).padStart(3)} clients: ${(made / seconds).toFixed(0).padStart(5)} tok/s, ${(made / passes).toFixed(2)} tokens a pass, all answered after ${seconds.toFixed(2)} s`
    )
  }
} finally {
  server.kill("SIGTERM")
}
