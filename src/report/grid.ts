/** The grid as a table: the text of each cell, and footnotes for what does not exist and what must be known. */
import { type Column, type Figure, type Group, groups, type ReferenceLine } from "./column.ts"
import { interval } from "./format.ts"
import type { GridRow } from "./rows.ts"

export interface Cell {
  readonly text: string
  readonly interval?: string
  /** Number of its footnote, from 1. */
  readonly footnote?: number
  /** Left out where the cell is empty. */
  readonly figure?: Figure
}

export interface Grid {
  readonly columns: ReadonlyArray<
    Column & {
      /** Number of the footnote that says what it means. */
      readonly footnote?: number
    }
  >
  readonly lines: ReadonlyArray<{
    readonly label: string
    /** Left out of the lines of references. */
    readonly row?: GridRow
    readonly cells: ReadonlyArray<Cell>
  }>
  readonly footnotes: ReadonlyArray<string>
}

/** `references` stand below the rows. */
export const makeGrid = (
  rows: ReadonlyArray<GridRow>,
  given: ReadonlyArray<Column>,
  references: ReadonlyArray<ReferenceLine> = []
): Grid => {
  const footnotes: Array<string> = []
  const footnote = (text: string): number => {
    if (!footnotes.includes(text)) footnotes.push(text)
    return footnotes.indexOf(text) + 1
  }
  const cell = (column: Column, figure: Figure): Cell => {
    if ("absent" in figure) return { text: "n/a", footnote: footnote(figure.absent), figure }
    const { high, low, note, value } = figure
    return {
      text: column.format(value),
      figure,
      ...(low === undefined || high === undefined ? {} : { interval: interval(column.format, low, high) }),
      ...(note === undefined ? {} : { footnote: footnote(note) })
    }
  }
  const lines: Array<Grid["lines"][number]> = rows.map(row => ({
    label: row.label,
    row,
    cells: given.map(column => {
      const why = row.notApplicable[column.id]
      return cell(column, why === undefined ? column.figure(row) : { absent: why })
    })
  }))
  const below = references.map(line => ({
    label: line.label,
    cells: given.map((column): Cell => {
      const figure = column.reference?.(line)
      return figure === undefined ? { text: "" } : cell(column, figure)
    })
  }))
  const columns = given.map(column =>
    column.note === undefined ? column : { ...column, footnote: footnote(column.note) }
  )
  return { columns, lines: [...lines, ...below], footnotes }
}

/** The columns of a group, with their places, and the lines that have something in it. */
export const groupOf = (grid: Grid, group: Group): Grid => {
  const places = [...grid.columns.keys()].filter(i => grid.columns[i]!.group === group)
  return {
    columns: places.map(i => grid.columns[i]!),
    lines: grid.lines
      .map(line => ({ ...line, cells: places.map(i => line.cells[i]!) }))
      .filter(({ cells }) => cells.some(({ text }) => text !== "")),
    footnotes: grid.footnotes
  }
}

/** The groups that have columns, in their order. */
export const groupsOf = (grid: Grid): ReadonlyArray<Group> =>
  groups.filter(group => grid.columns.some(column => column.group === group))

const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹"

/** A footnote's number as it stands behind a word. */
export const mark = (footnote: number): string =>
  Array.from(String(footnote), digit => superscripts[Number(digit)]).join("")
