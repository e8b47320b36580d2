/**
 * The table of the pilot: what each arm makes of held-out problems and of held-out text.
 *
 *     node bench/teacher/table.ts [--cache DIR]
 *
 * Reads the ledger of the last `pipeline run bench/teacher/pilot.ts`; prints the table and writes bench/results/teacher.json.
 */
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"

const root = join(import.meta.dirname, "..", "..")
const { values } = parseArgs({ options: { cache: { type: "string", default: "cache" } } })

const asked = spawnSync(
  process.execPath,
  [join(root, "bin", "pipeline.mjs"), "query", "--named", "metrics", "--json", "--cache", values.cache],
  { encoding: "utf8" }
)
if (asked.status !== 0) throw new Error(asked.stderr)
const metrics = JSON.parse(asked.stdout) as ReadonlyArray<{
  readonly label: string
  readonly name: string
  readonly value: number
}>

interface Arm {
  perplexity?: number
  /** Shares of right answers. */
  readonly tasks: Record<string, number>
}
const arms: Record<string, Arm> = {}
for (const { label, name, value } of metrics) {
  const [, stage, arm, task] = /^(examine|pretrain)\/([a-z]+)(?:-([a-z]+))?$/.exec(label) ?? []
  if (arm === undefined) continue
  const entry = (arms[arm] ??= { tasks: {} })
  if (stage === "examine" && name === "eval/exact_match" && task !== undefined) entry.tasks[task] = value
  if (stage === "pretrain" && name === "eval/ar_perplexity") entry.perplexity = value
}

const tasks = [...new Set(Object.values(arms).flatMap(arm => Object.keys(arm.tasks)))]
const cells = (name: string, { perplexity, tasks: shares }: Arm) => [
  name,
  ...tasks.map(task => (shares[task] === undefined ? "" : `${Math.round(100 * shares[task])} %`)),
  perplexity?.toFixed(1) ?? ""
]
console.log(`| arm | ${tasks.join(" | ")} | perplexity of text |\n| --- |${" ---: |".repeat(tasks.length + 1)}`)
for (const [name, arm] of Object.entries(arms)) console.log(`| ${cells(name, arm).join(" | ")} |`)
writeFileSync(
  join(root, "bench", "results", "teacher.json"),
  `${JSON.stringify({ date: new Date().toISOString(), arms }, null, 2)}\n`
)
