/** Tables in Markdown that read well on a terminal, too. */
import { visible } from "../pipeline/Problem.ts"

/** Text from outside on one line, without anything that a terminal would obey. */
export const plain = (text: string): string => visible(text.replaceAll(/\s+/g, " ").trim())

/** The first column to the left, the others to the right. */
export const markdownTable = (columns: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<string>>): string => {
  const texts = [columns, ...lines].map(cells => cells.map(cell => plain(cell).replaceAll("|", "\\|")))
  const widths = columns.map((_, i) => Math.max(3, ...texts.map(cells => [...cells[i]!].length)))
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
