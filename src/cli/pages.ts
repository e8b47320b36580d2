/** Answers that never change between builds (help, completions, the list of pipelines): rendered by the build, read here. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** The file that holds the answer to these words. Words that no page was made for name files that are not there. */
export const pageFile = (words: ReadonlyArray<string>, coloured: boolean): string =>
  `page.${words.join(".").replaceAll(/[^\w.-]/g, "_")}.${coloured ? "colours" : "txt"}`

/** As the pages of help and our tables decide it. */
const wantsColours = () => {
  const { FORCE_COLOR: forced, NO_COLOR: none, TERM: terminal } = process.env
  return none === undefined && terminal !== "dumb" && (forced !== undefined || process.stdout.isTTY === true)
}

/** The same question has several spellings. */
const question = (words: ReadonlyArray<string>): ReadonlyArray<string> => {
  if (words.length === 0) return ["--help"]
  return words.map(word => (word === "-h" ? "--help" : word === "-v" ? "--version" : word))
}

/** The answer to the words of a command line, where one was prepared. */
export const pageFor = (words: ReadonlyArray<string>): string | undefined => {
  if (words.length > 3) return undefined
  // Beside the built program; there are none beside the sources.
  const folder = fileURLToPath(new URL(".", import.meta.url))
  const file = join(folder, pageFile(question(words), wantsColours()))
  return existsSync(file) ? readFileSync(file, "utf8") : undefined
}
