/** The entry: prints a prepared page where there is one for the command line; else starts the part of the program that is needed. */
import { isLooking } from "./lookingWords.ts"
import { pageFor } from "./pages.ts"

const words = process.argv.slice(2)
const page = pageFor(words)
if (page !== undefined) {
  process.stdout.on("error", () => undefined)
  process.stdout.write(page)
} else {
  // Built apart, without what computes: see scripts/build.ts.
  const module = !isLooking(words) ? "everything" : "looking"
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
  await import(`./${module}.${extension}`)
}
