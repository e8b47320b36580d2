/** Started by torchrun, once for each process: `node tinyTrainingRank.ts PYTHON DIRECTORY`. Leaves what its training came to in `DIRECTORY/RANK.json`. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { makeTorch } from "../../src/engines/torch/torch.ts"
import { trainTiny } from "./tinyTraining.ts"

const [python, directory] = process.argv.slice(2) as [string, string]
await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const engine = yield* makeTorch({ python, device: "cpu", threads: 1 })
      const trained = yield* trainTiny(engine, { steps: 3, microBatchRows: 2 })
      writeFileSync(
        join(directory, `${engine.world.rank}.json`),
        JSON.stringify({ size: engine.world.size, ...trained })
      )
    })
  )
)
