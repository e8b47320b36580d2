/**
 * A diffusion as an animated picture: every token has its place from the first step on, masked until the step that reveals it. The SVG needs nothing but itself, no script and no font; it is light or
 * dark as the page's reader is, and stands still, at its end, for those who want no motion.
 */
import { append, greatest } from "../../../pipeline/lists.ts"
import { escape } from "../../../report/html.ts"
import type { Tokenizer } from "../../../tokens/tokenizer.ts"
import { textsOfTokens } from "./reveal.ts"
import { labelOf, legendTitle, levelOf, levels } from "./sureness.ts"

export interface AnimatedText {
  readonly prompt: string
  /** New tokens after each step, masks among them. All are as long. */
  readonly steps: ReadonlyArray<ReadonlyArray<number>>
  /** After each step how sure the model was of each token when it was revealed; any number of masks. Left out: that is not shown. */
  readonly confidences?: ReadonlyArray<ReadonlyArray<number>>
}

/** Columns of a line, and sizes of a column and a line in the picture's units. */
const columns = 80
const cell = { width: 8.4, height: 20 } as const
const margin = 12
/** Seconds of a step, of all steps together at least and at most, and of the pause at the end. */
const time = { step: 0.25, least: 2, most: 20, pause: 3 } as const

/** Characters that take two columns in a fixed-width font. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u
/** Characters that take none. */
const thin = /[\p{Mn}\p{Me}\u200b-\u200d]/u
/** No characters of XML, or such as change the direction of others. */
const unfit = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

const shown = (text: string): string =>
  text.toWellFormed().replaceAll("\t", "    ").replaceAll("\r", "").replaceAll(unfit, "\uFFFD")

const widthOf = (text: string): number =>
  [...text].reduce((sum, sign) => sum + (thin.test(sign) ? 0 : wide.test(sign) ? 2 : 1), 0)

/** Where a piece of text stands. */
interface Box {
  readonly text: string
  readonly column: number
  readonly line: number
  readonly width: number
}

/** Sets pieces of text one after the other: a piece that does not fit goes to the next line, a line break begins one. */
const typesetter = (first: number) => {
  let [line, column] = [first, 0]
  return {
    line: () => line,
    /** The boxes of a piece, one for each of its lines. */
    set: (piece: string): ReadonlyArray<Box> =>
      shown(piece)
        .split("\n")
        .flatMap((part, i) => {
          if (i > 0) {
            line++
            column = 0
          }
          const width = widthOf(part)
          if (column > 0 && column + width > columns) {
            line++
            column = 0
          }
          if (width === 0) return []
          const box = { text: part, column, line, width: Math.min(width, columns) }
          column += box.width
          return [box]
        })
  }
}

const number = (value: number): string => String(Math.round(value * 100) / 100)

const drawn = ({ column, line, text, width }: Box, attributes: string): string =>
  `<text x="${number(margin + column * cell.width)}" y="${number(margin + line * cell.height + 14)}" textLength="${number(width * cell.width)}" lengthAdjust="spacingAndGlyphs" ${attributes}>${escape(text)}</text>`

const block = ({ column, line, width }: Box, attributes: string): string =>
  `<rect x="${number(margin + column * cell.width + 1)}" y="${number(margin + line * cell.height + 2)}" width="${number(width * cell.width - 2)}" height="${number(cell.height - 4)}" rx="3" ${attributes}/>`

/** What the colours mean, in a line of its own. */
const legend = (line: number): ReadonlyArray<string> => {
  const { set } = typesetter(line)
  return [
    ...set(`${legendTitle}: `).map(box => drawn(box, 'class="l"')),
    ...levels.flatMap(level => set(`${labelOf(level)}  `).map(box => drawn(box, `class="c${level}"`)))
  ]
}

/** From which step, counted from 0, a place has had its last token. */
const lastChange = (steps: AnimatedText["steps"], place: number): number => {
  let step = steps.length - 1
  while (step > 0 && steps[step - 1]![place] === steps[step]![place]) step--
  return step
}

/** The picture. `title` says what it shows. */
export const animation = (
  tokenizer: Pick<Tokenizer, "decode" | "ends" | "maskId">,
  texts: ReadonlyArray<AnimatedText>,
  title: string
): string => {
  const count = greatest(
    texts.map(({ steps }) => steps.length),
    1
  )
  const running = Math.min(time.most, Math.max(time.least, count * time.step))
  const whole = running + time.pause
  /** When a step is made, in percent of the whole; the picture begins with masks alone. */
  const at = (step: number): number => ((step + 1) / (count + 1)) * (running / whole) * 100
  const used = new Set<number>()
  const parts: Array<string> = []
  let line = 0
  let hasLevels = false
  for (const { confidences, prompt, steps } of texts) {
    const set = typesetter(line)
    for (const word of prompt.split(/(?<=\s)(?=\S)/))
      for (const box of set.set(word)) parts.push(drawn(box, 'class="p"'))
    // What was never revealed, behind the end of text, is no part of it.
    const last = steps.at(-1) ?? []
    const end = last.findIndex(token => token === tokenizer.maskId || tokenizer.ends.has(token))
    for (const [place, text] of textsOfTokens(tokenizer, end < 0 ? last : last.slice(0, end)).entries()) {
      const step = lastChange(steps, place)
      const level = levelOf(confidences?.[step]?.[place])
      hasLevels ||= level !== undefined
      const colour = level === undefined ? "" : ` c${level}`
      for (const box of set.set(text)) {
        used.add(step)
        parts.push(block(box, `class="m h${step}"`), drawn(box, `class="t s${step}${colour}"`))
      }
    }
    line = set.line() + 2
  }
  if (hasLevels) {
    append(parts, legend(line))
    line += 2
  }
  const [width, height] = [2 * margin + columns * cell.width, 2 * margin + Math.max(1, line - 1) * cell.height]
  const rules = [...used]
    .sort((a, b) => a - b)
    .map(step => {
      const [from, settled] = [at(step), Math.min(at(step) + 100 / (count + 1), 99)]
      const times = { from: number(from), next: number(from + 0.01), settled: number(Math.max(settled, from + 0.02)) }
      return [
        `.s${step}{animation:s${step} ${number(whole)}s linear infinite}`,
        `@keyframes s${step}{0%,${times.from}%{opacity:0}${times.next}%{opacity:1;fill:var(--new)}${times.settled}%,100%{opacity:1;fill:var(--own)}}`,
        `.h${step}{animation:h${step} ${number(whole)}s linear infinite}`,
        `@keyframes h${step}{0%,${times.from}%{fill-opacity:1}${times.next}%,100%{fill-opacity:0}}`
      ].join("")
    })
  const style = [
    "svg{--paper:#ffffff;--ink:#1f2328;--dim:#6a737d;--new:#00805e;--mask:#d5dae0;--c0:#1a7f37;--c1:#0550ae;--c2:#9a6700;--c3:#cf222e}",
    "@media (prefers-color-scheme:dark){svg{--paper:#14171a;--ink:#e6e8ea;--dim:#9aa4ae;--new:#35c79c;--mask:#3a424b;--c0:#56d364;--c1:#79c0ff;--c2:#e3b341;--c3:#ff7b72}}",
    "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre}",
    ".b{fill:var(--paper)}.p{fill:var(--dim)}.l{fill:var(--dim)}.t{--own:var(--ink);fill:var(--own)}",
    ...levels.map(level => `.c${level}{--own:var(--c${level});fill:var(--own)}`),
    ".m{fill:var(--mask);fill-opacity:0}",
    ...rules,
    "@media (prefers-reduced-motion:reduce){.t,.m{animation:none}}"
  ].join("\n")
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${number(width)} ${number(height)}" role="img" xml:space="preserve">`,
    `<title>${escape(shown(title))}</title>`,
    `<style>${style}</style>`,
    `<rect class="b" width="100%" height="100%"/>`,
    ...parts,
    "</svg>\n"
  ].join("\n")
}
