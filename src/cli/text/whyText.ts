/** The words of `pipeline why`. */
import type { Difference, Explained, Explanation, Reason } from "../../ledger/Why.ts"
import { ago, count } from "../../pipeline/units.ts"
import type { Digest } from "../../pipeline/Digest.ts"
import { type Style, table } from "../terminal/style.ts"
import { asTyped } from "../typed.ts"

/**
 * A node and what is to be said about it. `ran`, `reused`, `not reached`: in a past run. `would run`, `unknown`, `hit`, `gone`:
 * in a run now. `nothing` stands for a whole pipeline of which nothing ran, or would; `more` for nodes that were not looked at.
 */
export type WhyNode = {
  readonly label: string
  /** The run that is spoken of; undefined for one that would take place now. */
  readonly run: number | undefined
  /** Beside each difference: where it comes from. */
  readonly sources?: ReadonlyArray<string | undefined>
} & (
  | { readonly outcome: "ran" | "reused"; readonly explained: Explained }
  | { readonly outcome: "not reached" }
  | { readonly outcome: "nothing"; readonly reused: number }
  | { readonly outcome: "more"; readonly more: number }
  | { readonly outcome: "would run"; readonly key: Digest; readonly reason: Reason }
  | { readonly outcome: "unknown"; readonly waits: ReadonlyArray<string> }
  | { readonly outcome: "hit" | "gone"; readonly key: Digest; readonly gone: string | undefined }
)

/** What changed at a node, where that is why it ran. */
export const changesOf = (
  node: WhyNode
):
  | {
      readonly differences: ReadonlyArray<Difference>
      /** The run that executed it; undefined for one that would take place now. */
      readonly run: number | undefined
      readonly since: number
      readonly parameters: string | undefined
    }
  | undefined => {
  const reason =
    node.outcome === "would run"
      ? node.reason
      : node.outcome === "ran" || node.outcome === "reused"
        ? node.explained.reason
        : undefined
  if (reason?._tag !== "changed") return undefined
  return {
    differences: reason.explanation.differences,
    run: node.outcome === "would run" ? undefined : (node as { readonly explained: Explained }).explained.run,
    since: reason.since.run,
    parameters: reason.explanation.parameters
  }
}

/** Nodes printed one by one; --json has all. */
export const printed = 50
/** Differences printed of one node. */
const printedDifferences = 20
/** Unchanged parts named. */
const printedUnchanged = 8
/** Columns of one value. */
const valueWidth = 48

export const renderWhy = (nodes: ReadonlyArray<WhyNode>, now: number, style: Style): ReadonlyArray<string> => {
  const only = nodes.length === 1 ? nodes[0] : undefined
  if (only !== undefined) return renderNode(only, now, style)
  return nodes.flatMap((node, i) => [
    ...(i === 0 ? [] : [""]),
    ...(node.outcome === "more"
      ? renderNode(node, now, style)
      : [style.bold(node.label), ...renderNode(node, now, style).map(line => `  ${line}`)])
  ])
}

const renderNode = (node: WhyNode, now: number, style: Style): ReadonlyArray<string> => {
  switch (node.outcome) {
    case "nothing":
      return node.run === undefined
        ? [`a run would execute nothing: the results of all ${count(node.reused)} actions are there`]
        : [`run ${node.run} of ${node.label} executed nothing: all of its ${count(node.reused)} actions were reused`]
    case "more":
      return [`… and ${count(node.more)} more; --json lists all, a stage's name picks some`]
    case "not reached":
      return [`was not reached in run ${node.run}: something that it needs failed or was interrupted`]
    case "unknown":
      return [`cannot be known yet: its key depends on ${list(node.waits)}`]
    case "hit":
      return ["would be reused: no part of its key changed"]
    case "gone":
      return [
        `no part of its key changed, but its bytes are ${node.gone}: it would be made again if something needs them`
      ]
    case "would run":
      return renderReason("would run", node.reason, node.sources, now, style)
    case "reused": {
      const { explained } = node
      return [
        `was reused in run ${node.run}: no part of its key changed since run ${explained.run} (${ago(now - explained.startedMs)})`,
        ...renderReason(`in run ${explained.run} it ran`, explained.reason, node.sources, now, style)
      ]
    }
    case "ran": {
      const { attempts, reason, status } = node.explained
      const ending =
        status === "done"
          ? attempts > 1
            ? [`it took ${attempts} attempts`]
            : []
          : status === "running"
            ? ["it is still running"]
            : [
                style.red(
                  `it ${status === "failed" ? "failed" : `was ${status}`}${attempts > 1 ? ` after ${attempts} attempts` : ""}; see ${asTyped("`pipeline status`")}`
                )
              ]
      return [...renderReason("ran", reason, node.sources, now, style), ...ending]
    }
  }
}

const renderReason = (
  verb: string,
  reason: Reason,
  sources: ReadonlyArray<string | undefined> | undefined,
  now: number,
  style: Style
): ReadonlyArray<string> => {
  switch (reason._tag) {
    case "first":
      return [`${verb} because it was never run before`]
    case "again":
      return [
        `${verb} although no part of its key changed since run ${reason.since.run} (${ago(now - reason.since.atMs)})`,
        ...`  ${reason.because}`.split("\n")
      ]
    case "changed": {
      const { explanation, since } = reason
      const n = explanation.differences.length
      const age = `since run ${since.run} (${ago(now - since.atMs)})`
      if (n === 0) return [`${verb} because keys changed their form ${age}`, `  ${explanation.summary}`]
      return [
        `${verb} because ${n === 1 ? "one part" : `${count(n)} parts`} of its key changed ${age}`,
        ...renderDifferences(explanation, sources, style),
        ...renderUnchanged(explanation.unchanged, style)
      ]
    }
  }
}

const renderDifferences = (
  { differences }: Explanation,
  sources: ReadonlyArray<string | undefined> | undefined,
  style: Style
): ReadonlyArray<string> => {
  const rows = differences
    .slice(0, printedDifferences)
    .map(({ after, before, component }, i) => [
      `  ${component}`,
      `${style.red(clip(before))} → ${style.green(clip(after))}`,
      ...(sources?.[i] === undefined ? [] : [style.dim(sources[i])])
    ])
  const more = differences.length - printedDifferences
  return [...table(rows).split("\n"), ...(more > 0 ? [`  … and ${count(more)} more`] : [])]
}

const renderUnchanged = (unchanged: ReadonlyArray<string>, style: Style): ReadonlyArray<string> => {
  if (unchanged.length === 0) return []
  const more = unchanged.length - printedUnchanged
  return [
    style.dim(
      `unchanged: ${unchanged.slice(0, printedUnchanged).join(" · ")}${more > 0 ? ` · and ${count(more)} more` : ""}`
    )
  ]
}

/** A long value is cut; --json has all of it. */
const clip = (text: string) => (text.length > valueWidth ? `${text.slice(0, valueWidth - 1)}…` : text)

const list = (labels: ReadonlyArray<string>): string =>
  labels.length > 3 ? `${labels.slice(0, 3).join(", ")} and ${labels.length - 3} more` : labels.join(", ")
