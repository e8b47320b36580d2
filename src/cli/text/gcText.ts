/** How a collection, planned or done, is told: as text and as JSON. */
import { relative } from "node:path"
import type { CollectionPlan, Dropped } from "../../ledger/Collection.ts"
import { short } from "../../pipeline/Digest.ts"
import { ago, bytes, count, duration, plural } from "../../pipeline/units.ts"
import type { Collected, CollectOptions, Survey } from "../../runner/Collect.ts"
import type { Leftover } from "../../runner/Leftovers.ts"
import { first, styleOf, table } from "../terminal/style.ts"
import { append } from "../../pipeline/lists.ts"
import { stdout } from "../terminal/terminal.ts"
import { asTyped } from "../typed.ts"

export type Told = { readonly planned: Survey } | { readonly applied: Collected }

export interface Context {
  readonly root: string
  readonly options: CollectOptions
  readonly now: number
}

/** Artifacts and leftovers listed one by one; --json has all. */
const listed = 40

const surveyOf = (told: Told): Survey => ("planned" in told ? told.planned : told.applied)

const reasonOf = (dropped: Dropped, intermediates: ReadonlySet<number>, { now }: Context): string => {
  const used =
    dropped.lastRun === undefined
      ? `of no finished run, made ${ago(now - dropped.lastUsedMs)}`
      : `last in run ${dropped.lastRun}, ${ago(now - dropped.lastUsedMs)}`
  return intermediates.has(dropped.id) ? `${used}; only its later stages needed it` : used
}

const again = ({ costMs }: Dropped) => (costMs === undefined ? "unknown" : duration(costMs))

export const asJson = (told: Told, context: Context) => {
  const { intermediates, leftovers, notes, orphansKept, plan } = surveyOf(told)
  const applied = "applied" in told ? told.applied : undefined
  return {
    exists: true,
    cache: context.root,
    applied: applied !== undefined,
    before: plan.before,
    after: plan.after,
    artifacts: plan.dropped.map(dropped => ({
      digest: dropped.digest,
      kind: dropped.kind,
      label: dropped.label,
      bytes: dropped.bytes,
      reason: reasonOf(dropped, intermediates, context),
      lastUsedMs: dropped.lastUsedMs,
      lastRun: dropped.lastRun,
      recomputeMs: dropped.costMs
    })),
    orphans: { objects: plan.orphans.length, bytes: orphanBytes(plan), keptBecause: orphansKept },
    kept: plan.kept,
    excess: plan.excess,
    leftovers,
    notes,
    ...(applied === undefined
      ? {}
      : { trash: applied.folder, broughtBack: applied.broughtBack, removed: applied.removed })
  }
}

const orphanBytes = (plan: CollectionPlan) => plan.orphans.reduce((sum, { size }) => sum + size, 0)

export const asText = (told: Told, context: Context): ReadonlyArray<string> => {
  const style = styleOf(stdout())
  const { intermediates, leftovers, notes, orphansKept, plan } = surveyOf(told)
  const applied = "applied" in told ? told.applied : undefined
  const moved = applied === undefined ? "would move to the trash" : "moved to the trash"
  const blocks = [
    `${style.bold(context.root)}  ${bytes(plan.before)} in the store${
      plan.objects.length === 0 ? "" : `, ${bytes(plan.after)} after`
    }`
  ]
  if (plan.dropped.length > 0) {
    const head = ["  bytes", "artifact", "made by", "again in", "why"].map(style.dim)
    const row = (dropped: Dropped) => [
      `  ${bytes(dropped.bytes)}`,
      short(dropped.digest),
      dropped.label ?? dropped.kind,
      again(dropped),
      style.dim(reasonOf(dropped, intermediates, context))
    ]
    const total = plan.dropped.reduce((sum, dropped) => sum + dropped.bytes, 0)
    blocks.push(
      `${moved}: ${plural(plan.dropped.length, "artifact")}, ${bytes(total)}`,
      ...first(plan.dropped, listed, shown => table([head, ...shown.map(row)], new Set([0, 3])))
    )
  }
  if (plan.orphans.length > 0)
    blocks.push(
      `${moved}: ${plural(plan.orphans.length, "object")} of no artifact, ${bytes(orphanBytes(plan))}, left by crashes or earlier collections`
    )
  else if (orphansKept !== undefined) blocks.push(`objects of no artifact are left alone: ${orphansKept}`)
  append(blocks, leftoverLines(leftovers, applied, context))
  blocks.push(keptLine(plan, context))
  if (plan.excess > 0)
    blocks.push(
      `${style.yellow("warning")} what must be kept exceeds --max-size by ${bytes(plan.excess)}: remove pins, lower --keep-runs, or use --final-only`
    )
  else if (context.options.maxBytes !== undefined && plan.after > context.options.maxBytes)
    blocks.push(
      `${style.yellow("warning")} the store stays ${bytes(plan.after - context.options.maxBytes)} above --max-size: nothing else may go under these options`
    )
  append(
    blocks,
    notes.map(note => `${style.yellow("warning")} ${note}`)
  )
  const idle = plan.objects.length === 0 && leftovers.every(({ kept }) => kept)
  if (applied === undefined) blocks.push(idle ? "nothing to collect" : "nothing was changed; `--apply` does it")
  else if (applied.folder === undefined) blocks.push(idle ? "nothing to collect" : "done")
  else
    blocks.push(
      `${applied.broughtBack === 0 ? "" : `${plural(applied.broughtBack, "object")} brought back for running actions; `}` +
        `in ${applied.folder}; ${asTyped("`pipeline gc --empty-trash --apply`")} frees the disk`
    )
  return blocks
}

const names: Readonly<Record<Leftover["kind"], string>> = {
  attempt: "directory of an attempt",
  checkpoint: "checkpoint",
  temporary: "temporary files",
  log: "log",
  quarantine: "quarantine"
}

const leftoverLines = (
  leftovers: ReadonlyArray<Leftover>,
  applied: Collected | undefined,
  { root }: Context
): ReadonlyArray<string> => {
  const going = applied?.removed ?? leftovers.filter(({ kept }) => !kept)
  const kept = leftovers.filter(leftover => leftover.kept)
  const sum = (of: ReadonlyArray<Leftover>) => bytes(of.reduce((total, leftover) => total + leftover.bytes, 0))
  const row = ({ bytes: size, kind, path, reason }: Leftover) => [
    `  ${bytes(size)}`,
    names[kind],
    relative(root, path),
    reason
  ]
  const flagOf = { checkpoint: "--checkpoints", log: "--logs", quarantine: "--quarantine" } as const
  return [
    ...(going.length === 0
      ? []
      : [
          `${applied === undefined ? "would delete" : "deleted"}: ${sum(going)} of leftovers`,
          ...first(going, listed, shown => table(shown.map(row), new Set([0])))
        ]),
    ...(["checkpoint", "log", "quarantine"] as const).flatMap(kind => {
      const some = kept.filter(leftover => leftover.kind === kind)
      return some.length === 0
        ? []
        : [`${names[kind]}: ${sum(some)} in ${count(some.length)}, kept; ${flagOf[kind]} removes them`]
    })
  ]
}

const keptLine = ({ kept }: CollectionPlan, { options }: Context): string => {
  const parts = [
    ["pinned", kept.pinned],
    ["in use by running work", kept["in-use"]],
    [
      `${options.finalOnly ? "that" : "of"} the last ${options.keepRuns === 1 ? "run" : `${options.keepRuns} runs`}${options.finalOnly ? " came to" : ""}`,
      kept["last-runs"]
    ],
    ["not chosen", kept["not-chosen"]]
  ] as const
  const told = parts
    .filter(([, { artifacts }]) => artifacts > 0)
    .map(([name, { artifacts, bytes: size }]) => `${plural(artifacts, "artifact")} ${name} (${bytes(size)})`)
  return `kept: ${told.length === 0 ? "nothing" : told.join(", ")}`
}
