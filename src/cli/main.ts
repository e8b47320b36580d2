/** The entry: prints a prepared page where there is one for the command line; else starts the part of the program that is needed. */
import { fileURLToPath } from "node:url"
import { isLooking } from "./lookingWords.ts"
import { pageFor } from "./pages.ts"
import { loadScript } from "./script.ts"

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const words = process.argv.slice(2)
const page = pageFor(words)
if (page !== undefined) {
  process.stdout.on("error", () => undefined)
  process.stdout.write(page)
} else if (isLooking(words)) {
  // Built apart, without what computes: see scripts/build.ts.
  if (extension === "js") loadScript(fileURLToPath(new URL("looking.script.js", import.meta.url)), words[0])
  else await import(`./looking.${extension}`)
} else {
  // The program holds much for its whole life and little for a moment: a young generation that never grows costs it no
  // time and saves about a sixth of its memory on large plans (bench/noop). Said before anything large is loaded, as V8
  // takes only what was compiled under the same flags.
  const { setFlagsFromString } = process.getBuiltinModule("node:v8")
  setFlagsFromString("--semi-space-growth-factor=1")
  // Else a long run has forgotten by its end what a start calls, and keeps the rest for the next one (script.ts).
  setFlagsFromString("--no-flush-bytecode")
  await import(`./everything.${extension}`)
}
