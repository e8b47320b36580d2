/** The words of `pipeline show`. */
import type { ArtifactLine } from "../../ledger/columns.ts"
import type {
  ActionDetails,
  ActionLine,
  ArtifactDetails,
  ExecutionLine,
  ObjectDetails,
  RunDetails
} from "../../ledger/Details.ts"
import { type Json, short } from "../../pipeline/Digest.ts"
import { ago, bytes, count, duration, plural } from "../../pipeline/units.ts"
import type { Item } from "../items.ts"
import type { Found } from "../lookUp.ts"
import { renderMetrics } from "../verbs/metrics.ts"
import { statusText, tallyOf } from "../verbs/runs.ts"
import { first, type Style, table } from "../terminal/style.ts"
import { asTyped } from "../typed.ts"

/** Lines of one list; --json has all. */
const printed = 40

const section = (title: string, lines: ReadonlyArray<string>, style: Style): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", style.bold(title), ...lines.flatMap(line => line.split("\n")).map(line => `  ${line}`)]

const some = <A>(all: ReadonlyArray<A>, render: (shown: ReadonlyArray<A>) => string) => first(all, printed, render, "")

const date = (ms: number): string => new Date(ms).toISOString().replace("T", " ").slice(0, 19)

/** `key  value` lines; nested values by their path. */
const fields = (value: Json): ReadonlyArray<string> => {
  const rows: Array<readonly [string, string]> = []
  const walk = (at: Json, path: string) => {
    if (typeof at === "object" && at !== null && !Array.isArray(at) && Object.keys(at).length > 0) {
      for (const [key, below] of Object.entries(at)) walk(below, path === "" ? key : `${path}.${key}`)
    } else if (path !== "" || typeof at !== "object" || at === null) {
      rows.push([path === "" ? "value" : path, JSON.stringify(at)])
    }
  }
  walk(value, "")
  return some(rows, shown => table(shown))
}

const artifactRows = (artifacts: ReadonlyArray<ArtifactLine>, style: Style): ReadonlyArray<string> =>
  some(artifacts, shown =>
    table(
      shown.map(({ bytes: size, digest, items, kind, name, state }) => [
        name,
        kind,
        style.cyan(short(digest)),
        `${items === null ? "" : `${count(items)} items, `}${bytes(size)}`,
        state === "present" ? "" : style.yellow(state)
      ])
    )
  )

const executionRows = (executions: ReadonlyArray<ExecutionLine>, now: number, style: Style): ReadonlyArray<string> =>
  some(executions, shown =>
    table([
      ["run", "label", "attempt", "status", "started", "took", "cpu", "peak", "log"].map(style.dim),
      ...shown.map(each => [
        String(each.run),
        each.label,
        String(each.attempt),
        statusText(each.status, style),
        ago(now - each.startedMs),
        each.endedMs === null ? "" : duration(each.endedMs - each.startedMs),
        each.cpuMs === null ? "" : duration(each.cpuMs),
        each.peakKib === null ? "" : bytes(each.peakKib * 1024),
        each.log
      ])
    ])
  ).concat(
    executions
      .filter(({ message }) => message !== null)
      .slice(-3)
      .map(({ class: kind, label, message, run }) => style.red(`run ${run}, ${label}: ${kind ?? "failed"}: ${message}`))
  )

export const showRun = (
  { executions, nodes, run, targets }: RunDetails,
  now: number,
  style: Style
): ReadonlyArray<string> => {
  const took = run.endedMs === null ? "" : `, took ${duration(run.endedMs - run.startedMs)}`
  return [
    `${style.bold(`run ${run.id}`)}  ${run.tag === null ? "" : `${style.bold(run.tag)}  `}${run.pipeline}, profile ${run.profile}  ${statusText(run.status, style)}`,
    ...(run.note === null ? [] : [run.note]),
    `started ${date(run.startedMs)} UTC (${ago(now - run.startedMs)})${took}`,
    tallyOf(run, style),
    style.dim(`${run.command}  (version ${run.program}, ${run.host}, process ${run.pid})`),
    ...section(
      "stages",
      some(nodes, shown =>
        table(
          shown.map(({ key, label, outcome }) => [
            label,
            outcome === "reused" || outcome === "unreached" ? style.dim(outcome) : statusText(outcome, style),
            key === undefined ? "" : style.dim(short(key))
          ])
        )
      ),
      style
    ),
    ...section("executions", executionRows(executions, now, style), style),
    ...section("targets", artifactRows(targets, style), style)
  ]
}

/** What was computed from damaged bytes says so. */
const suspicion = (object: string | undefined, style: Style): ReadonlyArray<string> =>
  object === undefined
    ? []
    : [
        style.red(
          `suspect: it was computed from damaged bytes (object ${short(object)}), and the next run makes it again`
        )
      ]

export const showAction = (details: ActionDetails, now: number, style: Style): ReadonlyArray<string> => {
  const { code, divergences, executions, inputs, labels, lease, metrics, outputs, usedBy } = details
  const packages = Object.entries(code.packages).map(([name, version]) => `${name} ${version}`)
  const modules = Object.keys(code.modules).length
  const complete = outputs.length > 0
  return [
    `${style.bold(labels.join(", ") || details.stage)}  action ${style.cyan(details.key)}`,
    `stage ${details.stage}${details.engine === "none" ? "" : `, engine ${details.engine}`}, first computed ${date(details.createdMs)} UTC (${ago(now - details.createdMs)})`,
    `code ${short(code.digest)}: ${plural(modules, "module")}${packages.length === 0 ? "" : `, ${packages.slice(0, 6).join(", ")}${packages.length > 6 ? ` and ${packages.length - 6} more packages` : ""}`}`,
    usedBy.last === null
      ? "used by no run that ended"
      : `used by ${plural(usedBy.runs, "run")}, last by run ${usedBy.last}`,
    ...(complete ? [] : [style.yellow("it has no result: no execution of it succeeded")]),
    ...(complete ? suspicion(details.suspect, style) : []),
    ...(lease !== undefined && lease.expiresMs > now
      ? [style.cyan(`being computed by process ${lease.pid} on ${lease.host}`)]
      : []),
    ...section("parameters", fields(details.arguments ?? details.parameters), style),
    ...(details.arguments === undefined
      ? []
      : section("what they stand for in the key", fields(details.parameters), style)),
    ...section("inputs", artifactRows(inputs, style), style),
    ...section("outputs", artifactRows(outputs, style), style),
    ...section(
      "metrics",
      metrics.length === 0
        ? []
        : [
            renderMetrics(
              metrics.map(metric => ({ ...metric, label: "" })),
              style
            )
          ],
      style
    ),
    ...section("executions", executionRows(executions, now, style), style),
    ...section(
      "not reproducible",
      divergences.map(
        ({ after, before, port, run }) => `run ${run}: output ${port} was ${short(before)}, then ${short(after)}`
      ),
      style
    )
  ]
}

const actionRows = (actions: ReadonlyArray<ActionLine>, style: Style): ReadonlyArray<string> =>
  some(actions, shown => table(shown.map(({ key, label, port }) => [label, port, style.dim(short(key))])))

export const showArtifact = (
  details: ArtifactDetails,
  items: ReadonlyArray<Item>,
  now: number,
  style: Style
): ReadonlyArray<string> => {
  const { consumers, files, pages, pin, producers, targets } = details
  const more = (details.items ?? 0) - items.length
  const state =
    details.state === "present"
      ? style.green("present")
      : style.yellow(
          details.state === "collected"
            ? "collected: its bytes were dropped, and are made again when needed"
            : "lost: its bytes are missing or damaged, and are made again when needed"
        )
  return [
    `${style.bold(details.kind)}  artifact ${style.cyan(details.digest)}`,
    `${details.items === null ? "" : `${count(details.items)} items in ${plural(pages, "page")}, `}${bytes(details.bytes)}, ${state}, made ${date(details.createdMs)} UTC (${ago(now - details.createdMs)})`,
    ...suspicion(details.suspect, style),
    ...(pin === undefined ? [] : [`pinned${pin === "" ? "" : `: ${pin}`}`]),
    ...section("metadata", fields(details.metadata), style),
    ...section(
      "files",
      some(files, shown =>
        table(
          shown.map(({ path, sha256, size }) => [path, bytes(size), style.dim(sha256)]),
          new Set([1])
        )
      ),
      style
    ),
    ...section(
      "items",
      items.length === 0
        ? details.items === null || details.items === 0
          ? []
          : ["its pages cannot be read: the bytes are gone"]
        : [
            table(
              items.map(({ key, note, size }) => [
                style.dim(short(key)),
                bytes(size),
                note === null ? "" : JSON.stringify(note)
              ])
            ),
            ...(more > 0
              ? [
                  `… and ${count(more)} more; ${asTyped(`\`pipeline lineage ${short(details.digest)} --items\``)} lists all`
                ]
              : [])
          ],
      style
    ),
    ...section("made by", actionRows(producers, style), style),
    ...section("used by", actionRows(consumers, style), style),
    ...section(
      "target of",
      some(targets, shown => shown.map(({ name, run }) => `run ${run}, as ${name}`).join("\n")),
      style
    )
  ]
}

export const showObject = (
  { digest, partOf, size }: ObjectDetails,
  path: string | undefined,
  style: Style
): ReadonlyArray<string> => [
  `${style.bold("object")}  ${style.cyan(digest)}  ${bytes(size)}`,
  path === undefined ? style.yellow("its bytes are not in the store") : path,
  ...section("part of", artifactRows(partOf, style), style)
]

/** An item or a line that was looked up: where it is, its fields, and what it holds. Texts as they are written, line by line. */
export const showFound = ({ artifact, at, fields: own, text }: Found, style: Style): ReadonlyArray<string> => {
  const isText = (value: Json): value is string => typeof value === "string" && value.includes("\n")
  const all = typeof own === "object" && own !== null && !Array.isArray(own) ? Object.entries(own) : []
  const rest = Object.fromEntries(all.filter(([, value]) => !isText(value)))
  return [
    `${style.bold(at.length === 64 ? short(at) : at)}  ${style.dim(`in ${short(artifact)}`)}`,
    ...fields(all.length === 0 ? own : rest).flatMap(lines => lines.split("\n").map(line => `  ${line}`)),
    ...all.flatMap(([name, value]) => (isText(value) ? section(name, value.split("\n"), style) : [])),
    ...(text === undefined ? [] : section("text", text.split("\n"), style)),
    ""
  ]
}
