/** Commands that messages tell people to type, as they have to be typed: started as this program was, with the cache that it was given. */

import { quoted } from "../pipeline/shell.ts"

/** Verbs that look at no cache. */
const withoutCache = new Set(["list", "completions", "init"])

/** The value of `--cache` among words; undefined where they have none. */
const cacheOf = (words: ReadonlyArray<string>): string | undefined => {
  const at = words.findLastIndex(word => word === "--cache" || word.startsWith("--cache="))
  return at < 0 ? undefined : words[at] === "--cache" ? words[at + 1] : words[at]!.slice("--cache=".length)
}

/** How the program was started, as far as it matters to who starts it again. */
export interface Started {
  readonly words: ReadonlyArray<string>
  /** `exec` where npx started it, which finds what no shell finds. */
  readonly npmCommand: string | undefined
}

const thisTime = (): Started => ({ words: process.argv.slice(2), npmCommand: process.env["npm_command"] })

/** A command, as `pipeline why compare-50x`, as it has to be typed. */
export const typed = (command: string, { npmCommand, words }: Started = thisTime()): string => {
  const own = command.split(" ")
  const cache = withoutCache.has(own[1]!) || cacheOf(own) !== undefined ? undefined : cacheOf(words)
  return `${npmCommand === "exec" ? "npx " : ""}${command}${cache === undefined ? "" : ` --cache ${quoted(cache)}`}`
}

/** A text with its commands, which stand between backticks, as they have to be typed. */
export const asTyped = (text: string, started: Started = thisTime()): string =>
  text.replaceAll(/`(pipeline (?!-)[^`\n]+)`/g, (_, command: string) => `\`${typed(command, started)}\``)
