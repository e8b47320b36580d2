/**
 * A small training with a checkpoint after every step, to be killed at any point of it, and to be run again: `node … DIRECTORY causal`, or `aligned` for
 * masks along trajectories, a live teacher and replay.
 */
import { fileURLToPath } from "node:url"
import { createHash } from "node:crypto"
import { Effect, Schema } from "effect"
import { makeEpochs } from "../../src/tokens/epochs.ts"
import { randomOrder, trajectoryMasking } from "../../src/methods/shared/trajectories/trajectory.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { initialise } from "../../src/models/parameters.ts"
import { randomKey } from "../../src/tensor/random.ts"
import { train, UpdateSettings } from "../../src/training/loop.ts"
import type { Objective } from "../../src/training/objective.ts"
import { AlignmentSettings } from "../../src/methods/shared/alignment/settings.ts"
import { causalObjective } from "../../src/methods/causal/objective.ts"
import { diffusionObjective, DiffusionSettings } from "../../src/methods/shared/masks/objective.ts"
import { teacherBuffers } from "../../src/methods/shared/alignment/teacher.ts"
import { TrajectorySettings } from "../../src/methods/shared/trajectories/terms.ts"
import { modelConfig } from "./tinyModel.ts"

const config = modelConfig({ vocabSize: 12 })
const length = 12
const sequences = Array.from({ length: 60 }, (_, i) =>
  Int32Array.from({ length: 2 + (i % 9) }, (_token, j) => (i * 3 + j * j) % 11)
)
const epochs = makeEpochs(
  sequences.map(sequence => sequence.length),
  { seed: 2, capacity: length, rowsPerStep: 4 }
)

export const steps = 60

const data = { sequences, epochs, microBatchRows: 2, length, pad: 0, averaging: "tokens" } as const

const aligned = (): Objective<never> => {
  const trajectories = Schema.decodeUnknownSync(TrajectorySettings)({
    trajectoryUseBlockwise: true,
    trajectoryProgressiveBlockSizes: [2, 4],
    trajectoryComplementary: true
  })
  const masking = trajectoryMasking(trajectories, {
    sequences: sequences.map(ids => ({ ids, lossMask: new Uint8Array(ids.length).fill(1) })),
    // Every seventh has none, and is masked by chance.
    trajectories: new Map(
      sequences.flatMap((ids, i) =>
        i % 7 === 0 ? [] : [[i, randomOrder(1, ids.length - 1, 8, randomKey(4, "order", i))] as const]
      )
    ),
    steps,
    seed: 3
  })
  const settings = Schema.decodeUnknownSync(AlignmentSettings)({
    reprAlignWt: 2,
    reprAlignWtFinal: 0.5,
    reprAlignNumSampleLayers: 1,
    reprAlignSubSampleRatio: 0.5,
    subgoalAlignWt: 0.5,
    replayBufferCapacity: 20,
    replayWarmupSteps: 5,
    replayProb: 0.7
  })
  return diffusionObjective(
    config,
    Schema.decodeUnknownSync(DiffusionSettings)({ antiRepWeight: 0.1 }),
    { ...data, mask: 11, masking },
    { settings, steps, seed: 3 },
    trajectories
  )
}

/** Trains to the end; prints each step, and at last a digest of parameters and moments. */
const run = (directory: string, kind: string) =>
  Effect.gen(function* () {
    const engine = yield* makeOrt({ threads: 1 })
    const { buffers } = yield* train<never>(engine, {
      parameters: parameterSpecs(config),
      initial: ({ constants, parameters }) =>
        Effect.orDie(
          Effect.andThen(initialise(engine, parameters, 7), initialise(engine, teacherBuffers(constants), 7))
        ),
      objective: kind === "aligned" ? aligned() : causalObjective(config, data),
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

if (process.argv[1] === fileURLToPath(import.meta.url))
  await Effect.runPromise(Effect.scoped(run(process.argv[2]!, process.argv[3]!)))
