/** The earlier action that an action is compared with, and what recorded keys consist of. */
import type { Digest } from "../pipeline/Digest.ts"
import { actionKey, type KeyComponents, type KeyInput } from "../pipeline/Key.ts"
import type { ActionId } from "./Actions.ts"
import { hex } from "./columns.ts"
import type { Database } from "./Database.ts"
import { differences } from "./Difference.ts"
import type { ExecutionId, RunId } from "./Runs.ts"

/** An earlier action under the same label, with everything that determined its key. */
export interface EarlierAction {
  readonly action: ActionId
  readonly key: Digest
  /** The run that executed it last. */
  readonly run: RunId
  readonly startedMs: number
  readonly components: KeyComponents
  /** JSON: modules and packages of its code. */
  readonly codeDetail: string
}

/** Everything that the key of a recorded action consists of. */
export const componentsOf = (
  database: Database,
  action: ActionId
): { readonly components: KeyComponents; readonly codeDetail: string; readonly key: Digest } | undefined => {
  const row = database.get<Omit<KeyComponents, "inputs"> & { readonly key: Digest; readonly codeDetail: string }>(
    `SELECT ${hex("action.key")} AS key, code.detail AS codeDetail, stage.name AS stage, ${hex("code.digest")} AS code, engine, parameters
     FROM action JOIN stage ON stage.id = action.stage JOIN code ON code.id = action.code WHERE action.id = ?`,
    action
  )
  if (row === undefined) return undefined
  const inputs = database
    .all<{ port: string; name: string | null; digest: Digest }>(
      `SELECT port, name, ${hex("digest")} AS digest FROM input JOIN artifact ON artifact.id = input.artifact WHERE action = ? ORDER BY seq`,
      action
    )
    .map((input): KeyInput => ({ ...input, name: input.name ?? undefined }))
  const { codeDetail, key, ...components } = row
  return { key, codeDetail, components: { ...components, inputs } }
}

/** Looks this far back for the nearest action of a label. */
const considered = 50

/**
 * The earlier action of the same label that differs least; of equals the latest. Undefined when the label was never executed.
 * `before` excludes executions from that one on: to ask why a recorded execution took place. `key` is that of a recorded action,
 * which another version of the program may have written in another form.
 */
export const nearest = (
  database: Database,
  label: string,
  components: KeyComponents,
  before?: ExecutionId,
  key: Digest = actionKey(components)
): EarlierAction | undefined => {
  const executions = database.all<Pick<EarlierAction, "action" | "run" | "startedMs">>(
    `SELECT action, max(id) AS id, run, started_ms AS startedMs FROM execution WHERE label = ? AND id < ? GROUP BY action ORDER BY id DESC LIMIT ${considered}`,
    label,
    before ?? Number.MAX_SAFE_INTEGER
  )
  let best: EarlierAction | undefined
  let fewest = Number.POSITIVE_INFINITY
  for (const execution of executions) {
    const found = componentsOf(database, execution.action)
    if (found === undefined || found.components.stage !== components.stage || found.key === key) continue
    const size = differences(found.components, components, undefined, undefined).length
    if (size >= fewest) continue
    fewest = size
    best = { ...execution, ...found }
  }
  return best
}
