/** Tables in Markdown that read well on a terminal, too. */
import { visible } from "../pipeline/Problem.ts"
import { greatest } from "../pipeline/lists.ts"

/** What of a text Markdown or HTML would obey: code, emphasis (an underscore inside a word is none), strikes, links and pictures, tags, entities. */
const markup = /[\\`*]|~(?=~)|(?<=~)~|(?<!\w)_|_(?!\w)|(?<=\])[([:]|!(?=\[)/g
const tag = /<(?=[A-Za-z/!?])/g
const entity = /&(?=#?\w+;)/g

/** What begins a heading, a quotation, a list or a rule at the beginning of a line. */
const block = /^(?:(?=>)|(?=[#+=-]+(?:\s|$))|\d+(?=[.)](?:\s|$)))/

/** Text from outside on one line, as it is: without anything that a terminal, Markdown or HTML would obey. */
export const plain = (text: string): string => inline(text).replace(block, found => `${found}\\`)

/** The same within a line, where no block begins. */
export const inline = (text: string): string =>
  visible(text.replaceAll(/\s+/g, " ").trim())
    .replaceAll(entity, "&amp;")
    .replaceAll(tag, "&lt;")
    .replaceAll(markup, found => `\\${found}`)

/** A cell of a table. */
export const markdownCell = (cell: string): string => inline(cell).replaceAll("|", "\\|")

/** The first column to the left, the others to the right. */
export const markdownTable = (columns: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<string>>): string => {
  const texts = [columns, ...lines].map(cells => cells.map(cell => markdownCell(cell)))
  const widths = columns.map((_, i) =>
    greatest(
      texts.map(cells => [...cells[i]!].length),
      3
    )
  )
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells
      .map((cell, i) => {
        const blanks = " ".repeat(widths[i]! - [...cell].length)
        return i === 0 ? cell + blanks : blanks + cell
      })
      .join(" | ")} |`
  const rule = widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`))
  return [line(texts[0]!), `| ${rule.join(" | ")} |`, ...texts.slice(1).map(line)].join("\n")
}
