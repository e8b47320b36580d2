/** Command lines as people paste them: from pages of help and from the docs. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import type { AnyCommand } from "../../src/cli/program.ts"
import { commandFor } from "../../src/cli/verbs.ts"

const root = join(import.meta.dirname, "../..")

export interface CommandLine {
  /** Where it stands. */
  readonly at: string
  /** As it stands, without a prompt and without a comment behind it. */
  readonly text: string
  /** The words behind the program's name. */
  readonly words: ReadonlyArray<string>
  /** Whether it is shown with the error that comes of it. */
  readonly fails: boolean
}

/** Splits a line as a shell does, up to a pipe, a redirection, a second command or a comment. Throws for a quote that is never closed. */
export const shellWords = (line: string): ReadonlyArray<string> => {
  const words: Array<string> = []
  let word: string | undefined
  let quote: string | undefined
  for (const [i, letter] of [...line].entries()) {
    if (quote !== undefined) {
      if (letter === quote) quote = undefined
      else word += letter
    } else if (letter === "'" || letter === '"') {
      quote = letter
      word ??= ""
    } else if (/\s/.test(letter)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (/[|<>&;]/.test(letter) || (letter === "#" && word === undefined && i > 0)) break
    else word = (word ?? "") + letter
  }
  if (quote !== undefined) throw new Error(`${line}: the ${quote} is never closed`)
  return word === undefined ? words : [...words, word]
}

const begins = /^(?:\$ )?(?:[A-Z_]+=(?:\S|\$\([^)]*\))+ )*(?:npx )?pipeline (?=[a-z-])/

/** What a line calls the program with; undefined for other lines. */
export const commandLine = (at: string, line: string, below = ""): CommandLine | undefined => {
  if (!begins.test(line)) return undefined
  const text = line.replace(/^\$ /, "")
  return { at, text, words: shellWords(line.replace(begins, "")), fails: below.startsWith("error ") }
}

/** Command lines in the blocks of code of all pages; one that goes on in the next line is one. */
export const documentedCommands = (): ReadonlyArray<CommandLine> => {
  const pages = [
    "README.md",
    "CONTRIBUTING.md",
    ...readdirSync(join(root, "docs"))
      .filter(name => name.endsWith(".md"))
      .map(name => `docs/${name}`)
  ]
  return pages.flatMap(page => {
    const blocks = readFileSync(join(root, page), "utf8").matchAll(/^```(?:sh)?\n([^]*?)^```/gm)
    return [...blocks].flatMap(([, block]) =>
      joined(block!.split("\n")).flatMap((line, i, lines) => commandLine(page, line, lines[i + 1]) ?? [])
    )
  })
}

/** Lines that a backslash or an open quote joins with those below. */
const joined = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const whole: Array<string> = []
  let open: string | undefined
  for (const line of lines) {
    const text = open === undefined ? line : `${open} ${line.trim()}`
    const goesOn = text.endsWith("\\")
    open = goesOn ? text.slice(0, -1).trimEnd() : isOpen(text) ? text : undefined
    if (open === undefined) whole.push(text)
  }
  return open === undefined ? whole : [...whole, open]
}

const isOpen = (text: string): boolean => {
  if (!begins.test(text)) return false
  try {
    shellWords(text)
    return false
  } catch {
    return true
  }
}

const examplesOf = (command: AnyCommand): ReadonlyArray<string> => [
  ...command.examples.map(example => example.command),
  ...command.subcommands.flatMap(({ commands }) => commands.flatMap(each => examplesOf(each as AnyCommand)))
]

/** The examples of all pages of help. Those of other programs stand there, too, as one that asks `serve`. */
export const commandsInHelp: Effect.Effect<ReadonlyArray<CommandLine>> = Effect.map(commandFor([]), whole =>
  examplesOf(whole).flatMap(text => commandLine("help", text) ?? [])
)

/** With `…` for what is left out. */
const isWhole = ({ text, words }: CommandLine): boolean => !text.includes("…") && !words.includes("DIR")

/** Every whole command line of help and docs, once. */
export const allCommands: Effect.Effect<ReadonlyArray<CommandLine>> = Effect.map(commandsInHelp, inHelp => [
  ...new Map([...inHelp, ...documentedCommands()].filter(isWhole).map(line => [line.text, line])).values()
])
