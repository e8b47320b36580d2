/** What is shown and kept of a diffusion while it goes on: its texts after every step. */
import { appendFileSync, writeFileSync } from "node:fs"
import { Effect } from "effect"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { messageOf } from "../../../pipeline/Problem.ts"
import type { Tokenizer } from "../../../tokens/tokenizer.ts"
import { styleOf } from "../../terminal/style.ts"
import { control } from "../../terminal/terminal.ts"
import { animation } from "./animation.ts"
import { type Part, partsOf, type TokenState } from "./reveal.ts"

/** How a mask is shown. */
export const maskSign = "▁"

export interface Steps {
  /** Of text number `text`, the new tokens after a step. */
  readonly show: (step: number, text: number, tokens: Int32Array) => void
  /** Takes what stands on the terminal away. */
  readonly end: () => void
}

/** A text with its masks, in one line. */
export const shownText = (tokenizer: Pick<Tokenizer, "decode" | "maskToken">, tokens: Iterable<number>): string =>
  tokenizer.decode(tokens).replaceAll(tokenizer.maskToken, maskSign)

/** Paints what a step changed: bright what it revealed, dim the masks. */
const painter = (stream: NodeJS.WriteStream) => {
  const { bold, dim, green } = styleOf(stream)
  const paints: { readonly [state in TokenState]: (text: string) => string } = {
    masked: dim,
    fresh: text => bold(green(text)),
    kept: text => text
  }
  return (parts: ReadonlyArray<Part>): string =>
    parts.map(({ state, text }) => (text === "" ? "" : paints[state](text))).join("")
}

/** Remembers of each text the tokens before a step, and gives the parts that the step leaves, on one line. */
const follow = (tokenizer: Shows) => {
  const before = new Map<number, Int32Array>()
  return (number: number, tokens: Int32Array): ReadonlyArray<Part> => {
    const parts = partsOf(tokenizer, before.get(number), [...tokens], maskSign)
    before.set(number, tokens.slice())
    return parts.map(({ state, text }) => ({ state, text: text.replace(/\s+/g, " ") }))
  }
}

type Shows = Pick<Tokenizer, "decode" | "maskId">

/** Draws the texts over those of the step before. */
export const redrawn = (tokenizer: Shows, stream: NodeJS.WriteStream): Steps => {
  const { dim } = styleOf(stream)
  const paint = painter(stream)
  const partsAfter = follow(tokenizer)
  const lines = new Map<number, ReadonlyArray<Part>>()
  let drawn = 0
  const erase = (): string => (drawn === 0 ? "" : `${control(`${drawn}A`)}${control("0J")}`)
  return {
    show: (step, text, tokens) => {
      const columns = stream.columns || 80
      const room = (stream.rows || 24) - 2
      lines.set(text, partsAfter(text, tokens))
      const wrapped = [...lines].flatMap(([, parts]) => wrap(parts, columns - 2)).slice(0, room)
      stream.write(`${erase()}${wrapped.map(paint).join("\n")}\n${dim(`step ${step}`)}\n`)
      drawn = wrapped.length + 1
    },
    end: () => {
      stream.write(erase())
      drawn = 0
      lines.clear()
    }
  }
}

/** Breaks a text into lines; one at least. */
const wrap = (parts: ReadonlyArray<Part>, columns: number): ReadonlyArray<ReadonlyArray<Part>> => {
  const lines: Array<Array<{ state: TokenState; text: string }>> = [[]]
  let taken = 0
  for (const { state, text } of parts)
    for (const sign of text) {
      if (taken === columns) {
        lines.push([])
        taken = 0
      }
      const line = lines.at(-1)!
      const last = line.at(-1)
      if (last?.state === state) last.text += sign
      else line.push({ state, text: sign })
      taken++
    }
  return lines
}

/** Prints a line per step and text. */
export const listed = (tokenizer: Shows, stream: NodeJS.WriteStream, texts: number): Steps => {
  const { dim } = styleOf(stream)
  const paint = painter(stream)
  const partsAfter = follow(tokenizer)
  return {
    show: (step, text, tokens) => {
      const which = texts > 1 ? `${dim(`#${text}`)} ` : ""
      stream.write(`${dim(String(step).padStart(4))} ${which}${paint(partsAfter(text, tokens))}\n`)
    },
    end: () => {}
  }
}

/** What `--history-out` may be, by how the file's name ends. */
const historyKinds = [".jsonl", ".svg"] as const

const unwritable = (file: string) => (cause: unknown) =>
  new ConfigError({ at: `--history-out ${file}`, message: `cannot be written: ${messageOf(cause)}` })

/** Checks before anything is decoded that a history can be kept in a file: begins it anew. */
export const beginHistory = (file: string): Effect.Effect<void, ConfigError> =>
  historyKinds.some(kind => file.endsWith(kind))
    ? Effect.try({ try: () => writeFileSync(file, ""), catch: unwritable(file) })
    : Effect.fail(
        new ConfigError({
          at: `--history-out ${file}`,
          message: "must end in .jsonl, for a line of JSON per step, or in .svg, for an animated picture"
        })
      )

/** Keeps all steps in a file, of the kind that its name says. `prompts`: of the texts, in their order. */
export const history = (tokenizer: Tokenizer, file: string, prompts: ReadonlyArray<string>, title: string): Steps => {
  if (!file.endsWith(".svg"))
    // {step, ids, text}, and `prompt`, the number of the text.
    return {
      show: (step, prompt, tokens) => {
        const line = { step, prompt, ids: [...tokens], text: shownText(tokenizer, tokens) }
        appendFileSync(file, `${JSON.stringify(line)}\n`)
      },
      end: () => {}
    }
  const texts = prompts.map(prompt => ({ prompt, steps: [] as Array<ReadonlyArray<number>> }))
  return {
    show: (_step, text, tokens) => void texts[text]!.steps.push([...tokens]),
    end: () => writeFileSync(file, animation(tokenizer, texts, title))
  }
}
