/** Questions that people ask of the ledger, as SQL. `:run` stands for a run; times are in milliseconds since 1970. */

import { counted } from "./RunRows.ts"

export interface NamedQuery {
  /** One sentence, for `pipeline query --list`. */
  readonly about: string
  /** Its only parameter can be `:run`. */
  readonly sql: string
}

export const queries: { readonly [name: string]: NamedQuery } = {
  "slowest-stages": {
    about: "Stages by the time that all their executions took",
    sql: `SELECT stage.name AS stage, count(*) AS executions, round(sum(ended_ms - started_ms) / 1000.0, 1) AS total_s,
  round(avg(ended_ms - started_ms) / 1000.0, 2) AS mean_s, round(max(ended_ms - started_ms) / 1000.0, 2) AS longest_s,
  max(peak_kib) / 1024 AS peak_mib
FROM execution JOIN action ON action.id = execution.action JOIN stage ON stage.id = action.stage
WHERE status = 'done' GROUP BY stage.id ORDER BY total_s DESC`
  },
  "slowest-executions": {
    about: "The twenty longest executions",
    sql: `SELECT label, run, attempt, status, round((ended_ms - started_ms) / 1000.0, 2) AS seconds, round(cpu_ms / 1000.0, 2) AS cpu_s,
  peak_kib / 1024 AS peak_mib
FROM execution WHERE ended_ms IS NOT NULL ORDER BY ended_ms - started_ms DESC LIMIT 20`
  },
  "hit-rate": {
    about:
      "How much of each run was reused; of one that was killed, or is under way, only what it has executed is known",
    sql: `SELECT id AS run, pipeline, profile, status, executed, reused,
  round(100.0 * reused / nullif(executed + reused + failed + skipped, 0), 1) AS reused_percent, saved_s
FROM (SELECT id, pipeline, profile, status, ${counted("executed", "done")}, skipped, failed,
  CASE WHEN plan IS NOT NULL THEN reused END AS reused,
  CASE WHEN plan IS NOT NULL THEN round(saved_ms / 1000.0, 1) END AS saved_s FROM run) ORDER BY id DESC`
  },
  "biggest-artifacts": {
    about: "The twenty artifacts with most bytes, and where they come from",
    sql: `SELECT artifact.digest, kind, bytes, items,
  CASE state WHEN 0 THEN 'present' WHEN 1 THEN 'collected' ELSE 'lost' END AS state,
  (SELECT label FROM output JOIN execution ON execution.action = output.action WHERE output.artifact = artifact.id
   ORDER BY execution.id DESC LIMIT 1) AS label
FROM artifact ORDER BY bytes DESC LIMIT 20`
  },
  "bytes-by-kind": {
    about: "Artifacts and bytes of each kind (objects that several artifacts share count for each)",
    sql: `SELECT kind, count(*) AS artifacts, sum(bytes) AS bytes, sum(state = 0) AS present, sum(state = 1) AS collected, sum(state = 2) AS lost
FROM artifact GROUP BY kind ORDER BY bytes DESC`
  },
  failures: {
    about: "Executions that failed, with what they said and where their log is",
    sql: `SELECT run, label, attempt, class, message, log, datetime(ended_ms / 1000, 'unixepoch') AS ended_utc
FROM execution WHERE status IN ('failed', 'lost') ORDER BY id DESC`
  },
  metrics: {
    about: "Final values of all metrics of a run, reused results included",
    sql: `SELECT plan_node.label, metric.name, coalesce(metric.value, (SELECT value FROM point WHERE metric = metric.id ORDER BY step DESC LIMIT 1)) AS value,
  (SELECT count(*) FROM point WHERE metric = metric.id) AS points
FROM run JOIN plan_node ON plan_node.plan = run.plan JOIN metric ON metric.action = plan_node.action
WHERE run.id = :run ORDER BY plan_node.seq, metric.name`
  },
  parameters: {
    about: "Parameters of all actions of a run",
    sql: `SELECT plan_node.label, coalesce(action.arguments, action.parameters) AS parameters, action.engine, action.key
FROM run JOIN plan_node ON plan_node.plan = run.plan LEFT JOIN action ON action.id = plan_node.action
WHERE run.id = :run ORDER BY plan_node.seq`
  },
  "from-sources": {
    about:
      "Each target of a run with every source (an artifact that nothing of ours went into) that it was computed from",
    sql: `WITH RECURSIVE above (target, artifact) AS (
  SELECT name, artifact FROM target WHERE run = :run
  UNION SELECT target, edge.parent FROM above JOIN edge ON edge.child = above.artifact
)
SELECT target, kind AS source_kind, digest AS source,
  (SELECT label FROM output JOIN execution ON execution.action = output.action WHERE output.artifact = artifact.id
   ORDER BY execution.id DESC LIMIT 1) AS label
FROM above JOIN artifact ON artifact.id = above.artifact
WHERE NOT EXISTS (SELECT 1 FROM edge WHERE child = artifact.id) ORDER BY target, artifact.id`
  },
  "saw-sources": {
    about: "For every source in a run's lineage, all that was ever computed from it, in this run or another",
    sql: `WITH RECURSIVE above (artifact) AS (
  SELECT artifact FROM target WHERE run = :run
  UNION SELECT edge.parent FROM above JOIN edge ON edge.child = above.artifact
), below (source, artifact) AS (
  SELECT artifact, artifact FROM above WHERE NOT EXISTS (SELECT 1 FROM edge WHERE child = artifact)
  UNION SELECT source, edge.child FROM below JOIN edge ON edge.parent = below.artifact
)
SELECT source.kind AS source_kind, source.digest AS source, artifact.kind, artifact.digest,
  (SELECT label FROM output JOIN execution ON execution.action = output.action WHERE output.artifact = artifact.id
   ORDER BY execution.id DESC LIMIT 1) AS label
FROM below JOIN artifact ON artifact.id = below.artifact JOIN artifact AS source ON source.id = below.source
WHERE below.source <> below.artifact ORDER BY below.source, artifact.id`
  },
  "not-reproducible": {
    about: "Actions that returned other bytes when they were executed again",
    sql: `SELECT execution.label, divergence.port, action.key, old.digest AS before, new.digest AS after, execution.run
FROM divergence JOIN execution ON execution.id = divergence.execution JOIN action ON action.id = execution.action
JOIN artifact AS old ON old.id = divergence.before JOIN artifact AS new ON new.id = divergence.after ORDER BY execution.id DESC`
  },
  "missing-bytes": {
    about: "Artifacts whose bytes were collected or lost, and what computing them took",
    sql: `SELECT artifact.digest, kind, bytes, CASE state WHEN 1 THEN 'collected' ELSE 'lost' END AS state,
  (SELECT round((ended_ms - started_ms) / 1000.0, 1) FROM output JOIN execution ON execution.action = output.action
   WHERE output.artifact = artifact.id AND status = 'done' ORDER BY execution.id DESC LIMIT 1) AS computed_in_s
FROM artifact WHERE state <> 0 ORDER BY bytes DESC`
  },
  "code-versions": {
    about: "Stages with the versions of their code that were ever executed, newest first",
    sql: `SELECT stage.name AS stage, code.digest AS code, count(*) AS actions, datetime(min(action.created_ms) / 1000, 'unixepoch') AS first_utc
FROM action JOIN stage ON stage.id = action.stage JOIN code ON code.id = action.code
GROUP BY stage.id, code.id ORDER BY stage.name, max(action.created_ms) DESC`
  },
  events: {
    about: "What happened during a run, in order",
    sql: `SELECT time(at_ms / 1000, 'unixepoch') AS utc, type, label, data FROM event WHERE run = :run ORDER BY id`
  }
}

/** Whether a query asks for a run. */
export const needsRun = ({ sql }: NamedQuery): boolean => sql.includes(":run")
