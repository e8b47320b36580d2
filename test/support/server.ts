/** `pipeline serve` in a process of its own, on a port that is free. */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"

const launcher = fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url))

export interface Server {
  /** With `/v1`. */
  readonly url: string
  readonly root: string
  readonly process: ChildProcess
  /** What it printed on stderr so far. */
  readonly stderr: () => string
  /** Asks it to stop; its exit code. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<number | null>
}

export const serve = (
  cwd: string,
  words: ReadonlyArray<string>,
  environment: { readonly [name: string]: string } = {}
): Promise<Server> =>
  new Promise((resolve, reject) => {
    const { PIPELINE_API_KEY: _, PIPELINE_CACHE: __, FORCE_COLOR: ___, ...inherited } = process.env
    const child = spawn(process.execPath, [launcher, "serve", "--port", "0", "--json", ...words], {
      cwd,
      env: { ...inherited, NO_COLOR: "1", ...environment },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let [stdout, stderr] = ["", ""]
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    const ended = once(child, "close") as Promise<[number | null]>
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
      if (!stdout.includes("\n}")) return
      const { url } = JSON.parse(stdout) as { readonly url: string }
      resolve({
        url,
        root: url.replace(/\/v1$/, ""),
        process: child,
        stderr: () => stderr,
        stop: async (signal = "SIGTERM") => {
          if (child.exitCode === null) child.kill(signal)
          return (await ended)[0]
        }
      })
    })
    void ended.then(([code]) => reject(new Error(`the server ended with ${code}: ${stderr}`)))
  })

export interface Answered {
  readonly status: number
  // Bodies are looked at field by field, as clients do.
  readonly body: Record<string, any> // oxlint-disable-line typescript/no-explicit-any
  readonly headers: Headers
}

export const post = async (
  url: string,
  body: unknown,
  headers: { readonly [name: string]: string } = {}
): Promise<Answered> => {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body)
  })
  return { status: response.status, headers: response.headers, body: (await response.json()) as Answered["body"] }
}

/** The events of a stream, without the last, `[DONE]`, which must be there. */
export const events = async (url: string, body: object, signal?: AbortSignal): Promise<Array<Answered["body"]>> => {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    ...(signal === undefined ? {} : { signal })
  })
  const parts = (await response.text()).split("\n\n").filter(part => part !== "")
  if (parts.some(part => !part.startsWith("data: "))) throw new Error(`no events: ${parts.join("\n")}`)
  const data = parts.map(part => part.slice("data: ".length))
  if (data.at(-1) !== "[DONE]" && !data.at(-1)!.includes('"error"')) throw new Error("the stream has no end")
  return data.filter(each => each !== "[DONE]").map(each => JSON.parse(each) as Answered["body"])
}
