/** What past runs did at each node, and why: from the ledger alone. */
import type { Database } from "../../ledger/Database.ts"
import { usesOf } from "../../ledger/Names.ts"
import { resolve } from "../../ledger/References.ts"
import { runRow } from "../../ledger/RunRows.ts"
import { executionColumns, type ExecutionRow, explainExecution } from "../../ledger/Why.ts"
import { ConfigError } from "../../pipeline/ConfigError.ts"
import { greatest } from "../../pipeline/lists.ts"
import { isMeant } from "../../pipeline/Plan.ts"
import { closest } from "../../pipeline/Suggestion.ts"
import type { WhyNode } from "../text/whyText.ts"

/** The executions behind a key, or behind an artifact. */
export const explainReference = (database: Database, text: string): ReadonlyArray<WhyNode> => {
  const reference = resolve(database, text, { accepted: ["action", "artifact"] })
  const executions =
    reference._tag === "action"
      ? lastExecution(database, reference.id)
      : database
          .column<number>("SELECT DISTINCT action FROM output WHERE artifact = ?", reference.id)
          .flatMap(action => lastExecution(database, action))
  if (executions.length === 0) {
    throw new ConfigError({ at: text, message: "was never executed here: nothing is known of why" })
  }
  return executions.map(execution => {
    const explained = explainExecution(database, execution)
    return { label: explained.label, outcome: "ran", run: explained.run, explained }
  })
}

const lastExecution = (database: Database, action: number): ReadonlyArray<ExecutionRow> =>
  database.all<ExecutionRow>(
    `SELECT ${executionColumns} FROM execution WHERE action = ? ORDER BY execution.id DESC LIMIT 1`,
    action
  )

/** What the last run of a pipeline executed; with a stage named, what became of it in the newest run that had it, executed or not. */
export const explainRun = (
  database: Database,
  pipeline: string,
  pattern: string | undefined,
  limit = Number.POSITIVE_INFINITY
): ReadonlyArray<WhyNode> => {
  const last = database.value<number>("SELECT max(id) FROM run WHERE pipeline = ?", pipeline)!
  const uses = pattern === undefined ? [] : usesOf(database, `${pipeline}/${pattern}`)
  const id = uses.length === 0 || hasStage(database, last, pattern!) ? last : greatest(uses.map(({ run }) => run))
  const run = runRow(database, id)!
  const executions = database.all<ExecutionRow>(
    `SELECT ${executionColumns} FROM execution WHERE id IN (SELECT min(id) FROM execution WHERE run = ? GROUP BY label, action) ORDER BY id`,
    id
  )
  const ran = executions
    .filter(({ label }) => pattern === undefined || isMeant(label, pattern))
    .map(execution => (): WhyNode => {
      const explained = explainExecution(database, execution)
      return { label: execution.label, outcome: "ran", run: id, explained }
    })
  if (pattern === undefined)
    return ran.length > 0
      ? first(ran, limit, id)
      : [{ label: pipeline, outcome: "nothing", run: id, reused: run.reused }]
  const executed = new Set(executions.map(({ label }) => label))
  const planned = database.all<{ label: string; action: number | null }>(
    "SELECT label, action FROM plan_node WHERE plan = ? ORDER BY seq",
    run.plan
  )
  const others = planned
    .filter(({ label }) => isMeant(label, pattern) && !executed.has(label))
    .map(({ action, label }) => (): WhyNode => {
      const execution = action === null ? undefined : lastExecution(database, action)[0]
      if (execution === undefined) return { label, outcome: "not reached", run: id }
      return { label, outcome: "reused", run: id, explained: explainExecution(database, execution) }
    })
  if (ran.length + others.length > 0) return first([...ran, ...others], limit, id)
  const labels = [...new Set([...planned.map(({ label }) => label), ...executed])]
  const near = closest(pattern, [...labels, ...labels.map(each => each.split("/")[0]!)])
  throw new ConfigError({
    at: `${pipeline}/${pattern}`,
    message: `run ${id} of ${pipeline} had no stage ${pattern}`,
    advice:
      near === undefined
        ? `its stages: ${labels.slice(0, 20).join(", ")}${labels.length > 20 ? ", …" : ""}`
        : `did you mean ${pipeline}/${near}?`
  })
}

/** Whether the plan of a run has a stage, reached or not. */
const hasStage = (database: Database, run: number, name: string): boolean =>
  database
    .column<string>("SELECT label FROM plan_node WHERE plan = (SELECT plan FROM run WHERE id = ?)", run)
    .some(label => isMeant(label, name))

/** Explains the first nodes, and counts the others. */
export const first = (
  nodes: ReadonlyArray<() => WhyNode>,
  limit: number,
  run: number | undefined
): ReadonlyArray<WhyNode> => [
  ...nodes.slice(0, limit).map(explain => explain()),
  ...(nodes.length > limit ? [{ label: "", outcome: "more", run, more: nodes.length - limit } as const] : [])
]
