/** What leaves for a terminal: text that cannot disturb it, and our own colours. A reader that is gone never ends work. */
import { Console } from "node:console"
import { syncBuiltinESMExports } from "node:module"
import { Effect } from "effect"

/** Characters that move the cursor, ring, recolour or reorder. Lines and tabs are text. */
const disturbing = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g

/** What our own control sequences begin with: inside of the program, a mark that nothing stored or written elsewhere can hold. */
let introducer = "\u001B["
let ours: RegExp | undefined
let trusted = 0

/** A control sequence of our own, such as `31m` or `2A`. */
export const control = (sequence: string): string => `${introducer}${sequence}`

/** The text without our colours. */
export const withoutColours = (text: string): string =>
  text
    .split(introducer)
    .map((part, i) => (i === 0 ? part : part.replace(/^\d+m/, "")))
    .join("")

/** Escapes what would disturb a terminal, and lets our own sequences pass. In JSON the escaped text means the same. */
const clean = (text: string): string => {
  const harmless = text
    .replaceAll(/\r\n?/g, "\n")
    .replaceAll(disturbing, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`)
  return ours === undefined ? harmless : harmless.replaceAll(ours, "\u001B[$1")
}

/** From here on, all text that is printed goes through `clean`; what cannot be printed any more is dropped. */
export const protectOutput = (): void => {
  introducer = `\uFDD0${Math.random().toString(36).slice(2)}\uFDD1`
  ours = new RegExp(`${introducer}(\\??\\d*[A-Za-z])`, "g")
  for (const stream of [process.stdout, process.stderr]) {
    // Closed pipes, terminals that hung up, full disks: the exit code says what was done.
    stream.on("error", () => undefined)
    const write = stream.write.bind(stream) as (...all: ReadonlyArray<unknown>) => boolean
    stream.write = ((chunk: unknown, ...rest: ReadonlyArray<unknown>) =>
      write(typeof chunk === "string" && trusted === 0 ? clean(chunk) : chunk, ...rest)) as typeof stream.write
  }
}

let own: NodeJS.WriteStream | undefined

/** What the program itself prints to. */
export const stdout = (): NodeJS.WriteStream => own ?? process.stdout

/** From here on, stdout is ours alone: who reads it reads no one else's words. A user's module that is loaded prints to stderr. */
export const keepStdout = (): void => {
  if (own !== undefined) return
  own = process.stdout
  Object.defineProperty(process, "stdout", { configurable: true, enumerable: true, get: () => process.stderr })
  Object.assign(console, new Console(process.stderr, process.stderr))
  syncBuiltinESMExports()
}

export const printJson = (value: unknown): void => print(JSON.stringify(value, null, 2))

/** Prints lines to stdout. */
export const print = (...lines: ReadonlyArray<string>): void => void stdout().write(`${lines.join("\n")}\n`)

/** Prints data for another program as they are; on a terminal, as text. */
export const printData = (text: string): void => {
  stdout().write(stdout().isTTY ? text : Buffer.from(text))
}

/** Lets an effect print control sequences that are not made by `control`: the pages of help, which hold no text of others. */
export const asItIs = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => void trusted++),
    () => effect,
    () => Effect.sync(() => void trusted--)
  )
