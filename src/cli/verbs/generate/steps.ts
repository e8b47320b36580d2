/** What is shown and kept of a diffusion while it goes on: its texts after every step. */
import { appendFileSync, writeFileSync } from "node:fs"
import { Effect } from "effect"
import type { Tokenizer } from "../../../tokens/tokenizer.ts"
import { styleOf, width } from "../../terminal/style.ts"
import { control } from "../../terminal/terminal.ts"

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

/** Draws the texts over those of the step before. */
export const redrawn = (tokenizer: Pick<Tokenizer, "decode" | "maskToken">, stream: NodeJS.WriteStream): Steps => {
  const { dim } = styleOf(stream)
  const lines = new Map<number, string>()
  let drawn = 0
  const erase = (): string => (drawn === 0 ? "" : `${control(`${drawn}A`)}${control("0J")}`)
  return {
    show: (step, text, tokens) => {
      const columns = stream.columns || 80
      const room = (stream.rows || 24) - 2
      lines.set(text, shownText(tokenizer, tokens).replace(/\s+/g, " "))
      const wrapped = [...lines].flatMap(([, line]) => wrap(line, columns - 2)).slice(0, room)
      stream.write(`${erase()}${wrapped.join("\n")}\n${dim(`step ${step}`)}\n`)
      drawn = wrapped.length + 1
    },
    end: () => {
      stream.write(erase())
      drawn = 0
      lines.clear()
    }
  }
}

const wrap = (line: string, columns: number): ReadonlyArray<string> => {
  const signs = [...line]
  return Array.from({ length: Math.max(1, Math.ceil(width(line) / columns)) }, (_, i) =>
    signs.slice(i * columns, (i + 1) * columns).join("")
  )
}

/** Prints a line per step and text. */
export const listed = (tokenizer: Tokenizer, stream: NodeJS.WriteStream, texts: number): Steps => {
  const { dim } = styleOf(stream)
  return {
    show: (step, text, tokens) => {
      const which = texts > 1 ? `${dim(`#${text}`)} ` : ""
      stream.write(`${dim(String(step).padStart(4))} ${which}${shownText(tokenizer, tokens).replace(/\s+/g, " ")}\n`)
    },
    end: () => {}
  }
}

/** Keeps a line of JSON per step and text: {step, ids, text}, and `prompt`, the number of the text, where there are several. */
export const history = (tokenizer: Tokenizer, file: string): Effect.Effect<Steps> =>
  Effect.sync(() => {
    writeFileSync(file, "")
    return {
      show: (step, prompt, tokens) => {
        const line = { step, prompt, ids: [...tokens], text: shownText(tokenizer, tokens) }
        appendFileSync(file, `${JSON.stringify(line)}\n`)
      },
      end: () => {}
    }
  })
