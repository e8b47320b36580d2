/** Why an action ran: the smallest part of its key that differs from the nearest earlier action. */
import { type Digest, fromBytes, short } from "../pipeline/Digest.ts"
import type { KeyComponents, KeyInput } from "../pipeline/Key.ts"
import type { Database } from "./Database.ts"

/** An earlier action under the same label, with everything that determined its key. */
export interface EarlierAction {
  readonly action: number
  readonly key: Digest
  readonly run: number
  readonly startedMs: number
  readonly components: KeyComponents
  /** JSON: modules and packages of its code. */
  readonly codeDetail: string
}

/** One difference between two actions. */
export interface Difference {
  /** `parameters.lr`, `code`, `package effect`, `engine`, or `input anchors`. */
  readonly component: string
  readonly before: string
  readonly after: string
}

export interface Explanation {
  readonly differences: ReadonlyArray<Difference>
  /** Parts that are equal, for reassurance. */
  readonly unchanged: ReadonlyArray<string>
  /** One line. */
  readonly summary: string
}

interface ActionRow {
  readonly id: number
  readonly key: Buffer
  readonly stage: string
  readonly code: Buffer
  readonly detail: string
  readonly engine: string
  readonly parameters: string
}

/** Everything that the key of a recorded action consists of. */
export const componentsOf = (
  database: Database,
  action: number
): { readonly components: KeyComponents; readonly codeDetail: string; readonly key: Digest } | undefined => {
  const row = database.get<ActionRow>(
    `SELECT action.id, action.key, stage.name AS stage, code.digest AS code, code.detail, engine, parameters
     FROM action JOIN stage ON stage.id = action.stage JOIN code ON code.id = action.code WHERE action.id = ?`,
    action
  )
  if (row === undefined) return undefined
  const inputs = database
    .all<{ port: string; name: string | null; digest: Buffer }>(
      "SELECT port, name, digest FROM input JOIN artifact ON artifact.id = input.artifact WHERE action = ? ORDER BY seq",
      action
    )
    .map((input): KeyInput => ({ port: input.port, name: input.name ?? undefined, digest: fromBytes(input.digest) }))
  return {
    key: fromBytes(row.key),
    codeDetail: row.detail,
    components: { stage: row.stage, code: fromBytes(row.code), engine: row.engine, parameters: row.parameters, inputs }
  }
}

/** Looks this far back for the nearest action of a label. */
const considered = 50

/**
 * The earlier action of the same label that differs least; of equals the latest. Undefined when the label was never executed.
 * `before` excludes executions from that one on: to ask why a recorded execution took place.
 */
export const nearest = (
  database: Database,
  label: string,
  components: KeyComponents,
  before?: number
): EarlierAction | undefined => {
  const executions = database.all<{ action: number; run: number; started_ms: number }>(
    `SELECT action, max(id) AS id, run, started_ms FROM execution WHERE label = ? AND id < ? GROUP BY action ORDER BY id DESC LIMIT ${considered}`,
    label,
    before ?? Number.MAX_SAFE_INTEGER
  )
  let best: EarlierAction | undefined
  let fewest = Number.POSITIVE_INFINITY
  for (const execution of executions) {
    const found = componentsOf(database, execution.action)
    if (found === undefined || found.components.stage !== components.stage) continue
    const size = differences(found.components, components, found.codeDetail, undefined).length
    if (size === 0 || size >= fewest) continue
    fewest = size
    best = {
      action: execution.action,
      key: found.key,
      run: execution.run,
      startedMs: execution.started_ms,
      components: found.components,
      codeDetail: found.codeDetail
    }
  }
  return best
}

export const smallestDifference = (
  earlier: EarlierAction,
  now: KeyComponents,
  codeDetail: string | undefined
): Explanation => {
  const found = differences(earlier.components, now, earlier.codeDetail, codeDetail)
  const unchanged = [
    ...(earlier.components.code === now.code ? [`code ${short(now.code)}`] : []),
    ...(earlier.components.parameters === now.parameters ? ["parameters"] : []),
    ...now.inputs
      .filter(input =>
        earlier.components.inputs.some(old => inputName(old) === inputName(input) && old.digest === input.digest)
      )
      .map(input => `${inputName(input)} ${short(input.digest)}`),
    ...(now.engine === earlier.components.engine && now.engine !== "none" ? [`engine ${now.engine}`] : [])
  ]
  const first = found[0]
  return {
    differences: found,
    unchanged,
    summary:
      first === undefined
        ? "nothing changed"
        : `${first.component}: ${first.before} → ${first.after}${found.length > 1 ? `, and ${found.length - 1} more` : ""}`
  }
}

const inputName = (input: KeyInput) => (input.name === undefined ? input.port : `${input.port}.${input.name}`)

const differences = (
  before: KeyComponents,
  after: KeyComponents,
  detailBefore: string,
  detailAfter: string | undefined
): ReadonlyArray<Difference> => {
  const found: Array<Difference> = []
  if (before.parameters !== after.parameters)
    found.push(...jsonDifferences(JSON.parse(before.parameters), JSON.parse(after.parameters), "parameters"))
  if (before.engine !== after.engine) found.push({ component: "engine", before: before.engine, after: after.engine })
  const names = new Set([...before.inputs, ...after.inputs].map(inputName))
  for (const name of names) {
    const list = (components: KeyComponents) =>
      components.inputs.filter(input => inputName(input) === name).map(input => short(input.digest))
    const [old, now] = [list(before), list(after)]
    if (old.join() !== now.join())
      found.push({ component: `input ${name}`, before: old.join(", ") || "none", after: now.join(", ") || "none" })
  }
  if (before.code !== after.code) found.push(...codeDifferences(before.code, after.code, detailBefore, detailAfter))
  return found
}

interface CodeDetail {
  readonly modules: Readonly<Record<string, string>>
  readonly packages: Readonly<Record<string, string>>
}

/** Names the packages and modules that changed; the digests alone say nothing to a person. */
const codeDifferences = (
  before: Digest,
  after: Digest,
  detailBefore: string,
  detailAfter: string | undefined
): ReadonlyArray<Difference> => {
  const fallback = [{ component: "code", before: short(before), after: short(after) }]
  if (detailAfter === undefined) return fallback
  const [old, now] = [JSON.parse(detailBefore) as CodeDetail, JSON.parse(detailAfter) as CodeDetail]
  const found: Array<Difference> = []
  for (const [prefix, a, b, show] of [
    ["package", old.packages, now.packages, (text: string) => text],
    ["code", old.modules, now.modules, (text: string) => text.slice(0, 8)]
  ] as const) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
      if (a[name] === b[name]) continue
      found.push({
        component: `${prefix} ${name}`,
        before: a[name] === undefined ? "absent" : show(a[name]),
        after: b[name] === undefined ? "absent" : show(b[name])
      })
    }
  }
  return found.length === 0 ? fallback : found
}

/** The leaves at which two JSON values differ, by path. */
const jsonDifferences = (before: unknown, after: unknown, path: string): ReadonlyArray<Difference> => {
  if (JSON.stringify(before) === JSON.stringify(after)) return []
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value)
  if (!isRecord(before) || !isRecord(after)) {
    return [
      {
        component: path,
        before: before === undefined ? "absent" : JSON.stringify(before),
        after: after === undefined ? "absent" : JSON.stringify(after)
      }
    ]
  }
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap(key =>
    jsonDifferences(before[key], after[key], `${path}.${key}`)
  )
}
