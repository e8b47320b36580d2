/** Programs that some profiles and executors use when they are there. */
import { Effect } from "effect"
import { type Check, ok } from "./Check.ts"
import { outputOf } from "./machine.ts"

const optional = [
  { name: "python3", args: ["--version"], use: "the torch engine, and comparisons with other libraries" },
  { name: "sbatch", args: ["--version"], use: "the slurm executor" }
] as const

export const tools: Check = {
  name: "tools",
  run: () =>
    Effect.forEach(
      optional,
      ({ args, name, use }) =>
        Effect.map(outputOf(name, args), version =>
          ok(name, version === undefined ? `not found; needed only for ${use}` : version.split("\n")[0]!)
        ),
      { concurrency: "unbounded" }
    )
}
