/** A small training with a checkpoint after every step, to be killed at any point of it, and to be run again: `node … DIRECTORY`. */
import { fileURLToPath } from "node:url"
import { createHash } from "node:crypto"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../src/data/epochs.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise } from "../../src/models/parameters.ts"
import { train, UpdateSettings } from "../../src/training/loop.ts"
import { causalObjective } from "../../src/training/objectives/causal.ts"
import { modelConfig } from "./tinyModel.ts"

const config = modelConfig()
const length = 12
const sequences = Array.from({ length: 60 }, (_, i) =>
  Int32Array.from({ length: 2 + (i % 9) }, (_token, j) => (i * 3 + j * j) % 11)
)

export const steps = 60

/** Trains to the end; prints each step, and at last a digest of parameters and moments. */
const run = (directory: string) =>
  Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: 1 })
    const epochs = makeEpochs(
      sequences.map(sequence => sequence.length),
      { seed: 2, capacity: length, rowsPerStep: 4 }
    )
    const { buffers } = yield* train<never>(engine, {
      parameters: parameterSpecs(config),
      initial: ({ parameters }) => Effect.orDie(initialise(engine, parameters, 7)),
      objective: causalObjective(config, {
        sequences,
        epochs,
        microBatchRows: 2,
        length,
        pad: 0,
        averaging: "tokens"
      }),
      steps,
      update: Schema.decodeUnknownSync(UpdateSettings)({ lr: 0.01, lrDecayStyle: "cosine", lrWarmupRatio: 0.1 }),
      directory,
      checkpointSeconds: 0,
      progress: ({ done }) => Effect.sync(() => console.log(`step ${done}`)),
      metric: () => Effect.void
    })
    const hash = createHash("sha256")
    for (const role of ["parameters", "firstMoments", "secondMoments"] as const)
      hash.update((yield* engine.download(buffers[role].flat)) as Float32Array)
    console.log(`digest ${hash.digest("hex")}`)
  })

if (process.argv[1] === fileURLToPath(import.meta.url)) await Effect.runPromise(Effect.scoped(run(process.argv[2]!)))
