/** `pipeline cache usage`: how much the cache holds, by kind, by pipeline, and by what it is there for. */
import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { verb } from "../../verb.ts"
import type { Candidate } from "../../../ledger/Collection.ts"
import { type Contents, Counted } from "../../../ledger/Needs.ts"
import { bytes, count, plural } from "../../../pipeline/units.ts"
import { inventory } from "../../../runner/Collect.ts"
import * as flags from "../../flags.ts"
import { attempt, sayNothingYet } from "../../look.ts"
import { openMaintenance } from "../../maintenance.ts"
import { styleOf, table } from "../../terminal/style.ts"
import { print, printJson, stdout } from "../../terminal/terminal.ts"

interface Share {
  readonly name: string
  readonly artifacts: number
  /** Bytes of the writable store; what several artifacts of the group share counts once. */
  readonly bytes: number
}

export const usage = verb("usage", {
  about: "Show how much the cache holds, by kind, pipeline and purpose",
  examples: {
    "pipeline cache usage": "As a table",
    "pipeline cache usage --json": "For a script"
  },
  takes: flags.ofCache,
  run: Effect.fn("cache usage")(function* (args) {
    const maintenance = yield* openMaintenance(flags.locationOf(args.cache), "read")
    if (maintenance === undefined) return sayNothingYet(args)
    const { database, paths, store } = maintenance
    const parts = yield* store.usage
    const found = yield* inventory(maintenance)
    const pipelines = yield* attempt(() =>
      database.all<{ pipeline: string; artifact: number }>(
        `SELECT DISTINCT plan.pipeline, output.artifact FROM plan JOIN plan_node ON plan_node.plan = plan.id
         JOIN output ON output.action = plan_node.action`
      )
    )
    const byId = new Map(found.candidates.map(candidate => [candidate.id, candidate]))
    const used = pipelines.flatMap(({ artifact, pipeline }) => {
      const candidate = byId.get(artifact)
      return candidate === undefined ? [] : [{ pipeline, candidate }]
    })
    const states = yield* attempt(() =>
      database.all<{ state: number; n: number }>("SELECT state, count(*) AS n FROM artifact GROUP BY state")
    )
    const inState = (state: number) => states.find(row => row.state === state)?.n ?? 0
    const told = {
      cache: paths.root,
      objects: parts.objects,
      trash: parts.trash,
      quarantine: parts.quarantine,
      temporary: parts.staging,
      logs: treeSize(paths.logs),
      checkpoints: treeSize(paths.checkpoints),
      attempts: treeSize(paths.actions),
      reports: treeSize(join(paths.root, "reports")),
      ledger: ["", "-wal", "-shm"].reduce((sum, end) => sum + sizeOf(paths.ledger + end), 0),
      free: parts.free,
      artifacts: { present: inState(0), collected: inState(1), lost: inState(2) },
      kinds: shares(
        Map.groupBy(found.candidates, ({ kind }) => kind),
        found,
        candidate => candidate
      ),
      pipelines: shares(
        Map.groupBy(used, ({ pipeline }) => pipeline),
        found,
        ({ candidate }) => candidate
      )
    }
    if (args.json) return printJson(told)
    const style = styleOf(stdout())
    const block = (title: string, of: ReadonlyArray<Share>) =>
      of.length === 0
        ? []
        : [
            style.bold(title),
            table(
              of.map(({ artifacts, bytes: size, name }) => [`  ${name}`, count(artifacts), bytes(size)]),
              new Set([1, 2])
            )
          ]
    const places = [
      ["objects", parts.objects.bytes, plural(parts.objects.count, "object")],
      ["trash", parts.trash.bytes, plural(parts.trash.count, "object")],
      ["quarantine", parts.quarantine.bytes, plural(parts.quarantine.count, "file")],
      ["temporary", parts.staging.bytes, plural(parts.staging.count, "file")],
      ["attempts", told.attempts, ""],
      ["checkpoints", told.checkpoints, ""],
      ["logs", told.logs, ""],
      ["reports", told.reports, ""],
      ["ledger", told.ledger, ""],
      ["free on the disk", parts.free, ""]
    ] as const
    const { collected, lost, present } = told.artifacts
    const rows = places.map(([name, size, more]) => [`  ${name}`, bytes(size), style.dim(more)])
    print(
      `${style.bold(paths.root)}  ${plural(present, "artifact")} present, ${count(collected)} collected, ${count(lost)} lost`,
      table(rows, new Set([1])),
      ...block("by kind", told.kinds),
      ...block("by pipeline", told.pipelines)
    )
  })
})

const shares = <A>(
  groups: ReadonlyMap<string, ReadonlyArray<A>>,
  contents: Contents<Candidate>,
  candidateOf: (member: A) => Candidate
): ReadonlyArray<Share> =>
  [...groups]
    .map(([name, members]) => {
      const counted = new Counted(contents)
      const size = members.reduce((sum, member) => sum + counted.add(candidateOf(member)), 0)
      return { name, artifacts: members.length, bytes: size }
    })
    .sort((a, b) => b.bytes - a.bytes)

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0

/** Bytes of all files below a directory; what vanishes while we look counts as nothing. */
const treeSize = (directory: string): number => {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .reduce((sum, entry) => sum + sizeOf(join(entry.parentPath, entry.name)), 0)
  } catch {
    return 0
  }
}
