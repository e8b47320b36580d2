/** A program to be killed: runs one job by the local executor. Arguments: worker, folder of logs, directory of the job. */
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { make } from "../../src/executors/local.ts"

const [, , worker, logs, directory] = process.argv
const executor = make({
  worker: worker!,
  guard: fileURLToPath(new URL("../../src/executors/guard.ts", import.meta.url)),
  compiled: `${logs!}/compiled`,
  logs: logs!,
  ahead: 0,
  graceMs: 300
})
await Effect.runPromise(
  executor.run(
    { label: "job", directory: directory!, log: undefined, slots: { cpus: 1, memoryMiB: 1, gpus: [] } },
    () => undefined
  )
)
await Effect.runPromise(executor.close)
