/** Lineage as a tree for the terminal; what several branches share is printed once. */
import type { Database } from "../../ledger/Database.ts"
import { describeNodes, type Direction, type LineageNode, neighbours, reach } from "../../ledger/Lineage.ts"
import { short } from "../../pipeline/Digest.ts"
import { bytes, count, plural } from "../../pipeline/units.ts"
import type { Style } from "../terminal/style.ts"

/** Lines of one tree; a person reads no more, and --format json has all. */
const longest = 400

export const renderTree = (
  database: Database,
  starts: ReadonlyArray<number>,
  directions: ReadonlyArray<Direction>,
  depth: number | undefined,
  style: Style
): ReadonlyArray<string> =>
  directions.flatMap((direction, i) => {
    const found = reach(database, starts, direction, depth).length
    const word = direction === "up" ? "ancestor" : "descendant"
    return [
      ...(i === 0 ? [] : [""]),
      ...branches(database, starts, direction, depth ?? Number.POSITIVE_INFINITY, style),
      style.dim(plural(found, word))
    ]
  })

interface Branch {
  readonly id: number
  /** What stands before it in its own line, and before the lines below it. */
  readonly lead: string
  readonly below: string
  readonly depth: number
}

/** Depth first with a stack of its own: chains may be longer than the stack of calls. */
const branches = (
  database: Database,
  starts: ReadonlyArray<number>,
  direction: Direction,
  depth: number,
  style: Style
): ReadonlyArray<string> => {
  const shown = new Set<number>()
  const lines: Array<string> = []
  const pending: Array<Branch> = starts.map(id => ({ id, lead: "", below: "", depth: 0 })).reverse()
  while (pending.length > 0) {
    if (lines.length >= longest)
      return [...lines, `… ${count(pending.length)} branches are not shown; --depth, or --format json`]
    const branch = pending.pop()!
    const node = describeNodes(database, [branch.id]).get(branch.id)
    if (node === undefined) continue
    const next = neighbours(database, [branch.id], direction)
    const again = shown.has(branch.id)
    shown.add(branch.id)
    const cut =
      again && next.length > 0
        ? style.dim("  (shown above)")
        : branch.depth >= depth && next.length > 0
          ? style.dim("  …")
          : ""
    lines.push(`${style.dim(branch.lead)}${text(node, style)}${cut}`)
    if (cut !== "") continue
    next.forEach((_, i) => {
      const id = next[next.length - 1 - i]!
      const last = i === 0
      pending.push({
        id,
        lead: `${branch.below}${last ? "└─ " : "├─ "}`,
        below: `${branch.below}${last ? "   " : "│  "}`,
        depth: branch.depth + 1
      })
    })
  }
  return lines
}

const text = ({ bytes: size, digest, items, kind, label, state }: LineageNode, style: Style): string =>
  [
    label === null ? style.bold(kind) : `${style.bold(label)}  ${kind}`,
    style.cyan(short(digest)),
    `${items === null ? "" : `${count(items)} items, `}${bytes(size)}`,
    ...(state === "present" ? [] : [style.yellow(state)])
  ].join("  ")
