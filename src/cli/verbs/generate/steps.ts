/** What is shown and kept of a diffusion while it goes on: its texts after every step. */
import { appendFileSync, writeFileSync } from "node:fs"
import { Effect } from "effect"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { messageOf } from "../../../pipeline/Problem.ts"
import type { Tokenizer } from "../../../tokens/tokenizer.ts"
import { type Style, styleOf } from "../../terminal/style.ts"
import { control } from "../../terminal/terminal.ts"
import { animation } from "./animation.ts"
import { addPart, type Part, partsOf } from "./reveal.ts"
import { labelOf, legendTitle, type Level, levels } from "./sureness.ts"

/** How a mask is shown. */
export const maskSign = "▁"

export interface Steps {
  /** Of text number `text`, the new tokens after a step, and how sure the model was of each when it was revealed, NaN of masks. */
  readonly show: (step: number, text: number, tokens: Int32Array, confidence?: Float32Array) => void
  /** Takes what stands on the terminal away. */
  readonly end: () => void
}

/** A text with its masks, in one line. */
export const shownText = (tokenizer: Pick<Tokenizer, "decode" | "maskToken">, tokens: Iterable<number>): string =>
  tokenizer.decode(tokens).replaceAll(tokenizer.maskToken, maskSign)

/** The colour of a level, the surest first. */
const paintOf = ({ cyan, green, red, yellow }: Style, level: Level) => [green, cyan, yellow, red][level]!

/** Paints what a step changed: bright what it revealed, dim the masks; tokens in the colour of how sure the model was of them. */
const painter = (style: Style) => {
  const { bold, dim, green } = style
  const paint = ({ level, state, text }: Part): string => {
    if (state === "masked") return dim(text)
    const inColour = level === undefined ? (state === "fresh" ? green(text) : text) : paintOf(style, level)(text)
    return state === "fresh" ? bold(inColour) : inColour
  }
  return (parts: ReadonlyArray<Part>): string => parts.map(part => (part.text === "" ? "" : paint(part))).join("")
}

/** What the colours mean; undefined where there are none. */
const legendOf = (style: Style): string | undefined =>
  style.coloured
    ? `${style.dim(`${legendTitle}:`)} ${levels.map(level => paintOf(style, level)(labelOf(level))).join(" ")}`
    : undefined

/** Remembers of each text the tokens before a step, and gives the parts that the step leaves, on one line. Without colours, tokens differ by their state alone. */
const follow = (tokenizer: Shows, { coloured }: Style) => {
  const before = new Map<number, Int32Array>()
  return (number: number, tokens: Int32Array, confidence: Float32Array | undefined): ReadonlyArray<Part> => {
    const parts = partsOf(tokenizer, before.get(number), [...tokens], maskSign, coloured ? confidence : undefined)
    before.set(number, tokens.slice())
    return parts.map(part => ({ ...part, text: part.text.replace(/\s+/g, " ") }))
  }
}

type Shows = Pick<Tokenizer, "decode" | "maskId">

/** Columns that a step's number and the legend take, with room. */
const legendColumns = 64

/** Draws the texts over those of the step before. */
export const redrawn = (tokenizer: Shows, stream: NodeJS.WriteStream): Steps => {
  const style = styleOf(stream)
  const paint = painter(style)
  const partsAfter = follow(tokenizer, style)
  const legend = legendOf(style)
  const lines = new Map<number, ReadonlyArray<Part>>()
  let drawn = 0
  const erase = (): string => (drawn === 0 ? "" : `${control(`${drawn}A`)}${control("0J")}`)
  return {
    show: (step, text, tokens, confidence) => {
      const columns = stream.columns || 80
      const room = (stream.rows || 24) - 2
      lines.set(text, partsAfter(text, tokens, confidence))
      const wrapped = [...lines].flatMap(([, parts]) => wrap(parts, columns - 2)).slice(0, room)
      const count = style.dim(`step ${step}`)
      // On its own line it could be broken into two, which would not be taken away.
      const last = legend !== undefined && columns > legendColumns ? `${count}  ${legend}` : count
      stream.write(`${erase()}${wrapped.map(paint).join("\n")}\n${last}\n`)
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
  const lines: Array<Array<Part>> = [[]]
  let taken = 0
  for (const part of parts)
    for (const sign of part.text) {
      if (taken === columns) {
        lines.push([])
        taken = 0
      }
      addPart(lines.at(-1)!, { ...part, text: sign })
      taken++
    }
  return lines
}

/** Prints a line per step and text. */
export const listed = (tokenizer: Shows, stream: NodeJS.WriteStream, texts: number): Steps => {
  const style = styleOf(stream)
  const { dim } = style
  const paint = painter(style)
  const partsAfter = follow(tokenizer, style)
  let legend = legendOf(style)
  return {
    show: (step, text, tokens, confidence) => {
      if (legend !== undefined && confidence !== undefined) {
        stream.write(`${legend}\n`)
        legend = undefined
      }
      const which = texts > 1 ? `${dim(`#${text}`)} ` : ""
      stream.write(`${dim(String(step).padStart(4))} ${which}${paint(partsAfter(text, tokens, confidence))}\n`)
    },
    end: () => {}
  }
}

/** To the precision that f32 and the host agree in. */
const rounded = (probability: number): number => Number(probability.toFixed(4))

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
    // {step, ids, confidence, text}, and `prompt`, the number of the text.
    return {
      show: (step, prompt, tokens, confidence) => {
        const sure = confidence && { confidence: Array.from(confidence, p => (Number.isNaN(p) ? null : rounded(p))) }
        const line = { step, prompt, ids: [...tokens], ...sure, text: shownText(tokenizer, tokens) }
        appendFileSync(file, `${JSON.stringify(line)}\n`)
      },
      end: () => {}
    }
  const texts = prompts.map(prompt => ({
    prompt,
    steps: [] as Array<ReadonlyArray<number>>,
    confidences: [] as Array<ReadonlyArray<number>>
  }))
  return {
    show: (_step, text, tokens, confidence) => {
      texts[text]!.steps.push([...tokens])
      texts[text]!.confidences.push([...(confidence ?? [])])
    },
    end: () => writeFileSync(file, animation(tokenizer, texts, title))
  }
}
