/** `pipeline cache usage`: how much the cache holds, by kind, by pipeline, and by what it is there for. */
import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { Command } from "effect/cli"
import type { ArtifactId } from "../../../ledger/Actions.ts"
import type { Candidate } from "../../../ledger/Collection.ts"
import { type Contents, Counted } from "../../../ledger/Needs.ts"
import { bytes, count } from "../../../pipeline/units.ts"
import { inventory } from "../../../runner/Collect.ts"
import { plural } from "../../text/amounts.ts"
import * as flags from "../../flags.ts"
import { attempt, nothingYet, openMaintenance } from "../../maintenance.ts"
import { styleOf, table } from "../../terminal/style.ts"
import { stdout } from "../../terminal/terminal.ts"

interface Share {
  readonly name: string
  readonly artifacts: number
  /** Bytes of the writable store; what several artifacts of the group share counts once. */
  readonly bytes: number
}

export const usage = Command.make(
  "usage",
  { cache: flags.cache, json: flags.json },
  Effect.fn("cache usage")(function* (args) {
    const location = flags.locationOf(args.cache)
    const maintenance = yield* openMaintenance(location, "read")
    if (maintenance === undefined)
      return void stdout().write(args.json ? `${JSON.stringify({ exists: false })}\n` : nothingYet(location))
    const { database, paths, store } = maintenance
    const parts = yield* store.usage
    const found = yield* inventory(maintenance)
    const pipelines = yield* attempt(database, () =>
      database.all<{ pipeline: string; artifact: number }>(
        `SELECT DISTINCT plan.pipeline, output.artifact FROM plan JOIN plan_node ON plan_node.plan = plan.id
         JOIN output ON output.action = plan_node.action`
      )
    )
    const byId = new Map(found.candidates.map(candidate => [candidate.id, candidate]))
    const byPipeline = new Map<string, Array<Candidate>>()
    for (const { artifact, pipeline } of pipelines) {
      const candidate = byId.get(artifact)
      if (candidate !== undefined) grouped(byPipeline, pipeline).push(candidate)
    }
    const byKind = new Map<string, Array<Candidate>>()
    for (const candidate of found.candidates) grouped(byKind, candidate.kind).push(candidate)
    const states = yield* attempt(database, () =>
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
      kinds: shares(byKind, found),
      pipelines: shares(byPipeline, found)
    }
    if (args.json) return void stdout().write(`${JSON.stringify(told, null, 2)}\n`)
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
    stdout().write(
      `${[
        `${style.bold(paths.root)}  ${plural(present, "artifact")} present, ${count(collected)} collected, ${count(lost)} lost`,
        table(
          places.map(([name, size, more]) => [`  ${name}`, bytes(size), style.dim(more)]),
          new Set([1])
        ),
        ...block("by kind", told.kinds),
        ...block("by pipeline", told.pipelines)
      ].join("\n")}\n`
    )
  })
).pipe(
  Command.withDescription("Show how much the cache holds, by kind, pipeline and purpose"),
  Command.withExamples([
    { command: "pipeline cache usage", description: "As a table" },
    { command: "pipeline cache usage --json", description: "For a script" }
  ])
)

const grouped = (groups: Map<string, Array<Candidate>>, name: string): Array<Candidate> => {
  const known = groups.get(name)
  if (known !== undefined) return known
  const made: Array<Candidate> = []
  groups.set(name, made)
  return made
}

const shares = (
  groups: ReadonlyMap<string, ReadonlyArray<Candidate & { readonly id: ArtifactId }>>,
  contents: Contents<Candidate>
): ReadonlyArray<Share> =>
  [...groups]
    .map(([name, candidates]) => {
      const counted = new Counted(contents)
      return {
        name,
        artifacts: candidates.length,
        bytes: candidates.reduce((sum, each) => sum + counted.add(each), 0)
      }
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
