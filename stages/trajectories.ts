/** Finds in which order a model would reveal the tokens of given responses: masks of a training can follow these trajectories instead of chance. */
import { Effect, Schema } from "effect"
import { NonNegative, PositiveInt, setting, Share } from "../src/config/setting.ts"
import { batchesOf } from "../src/methods/shared/trajectories/batches.ts"
import { findOrders } from "../src/methods/shared/trajectories/findOrders.ts"
import { keyOfIds, materialOf, responsesOf } from "../src/methods/shared/trajectories/responses.ts"
import { loadTeacher, openTeacher } from "../src/methods/shared/trajectories/teacher.ts"
import { encodeTrajectory } from "../src/methods/shared/trajectories/trajectories.ts"
import { leftToRight, orderModes, randomOrder, type Trajectory } from "../src/methods/shared/trajectories/trajectory.ts"
import { makeUncertainty } from "../src/methods/shared/trajectories/uncertainty.ts"
import { makeEngine } from "../src/engines/make.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError } from "../src/pipeline/StageError.ts"
import { ModelFiles, TokenSequences, Trajectories } from "../src/artifacts/kinds.ts"

/** A sequence of fewer tokens has no trajectory worth following. */
const leastTokens = 8

export const trajectories = Stage.make("trajectories", {
  inputs: {
    /** Asked with all positions in sight, as a diffusion model is. */
    teacher: ModelFiles,
    sequences: TokenSequences
  },
  parameters: Schema.Struct({
    /**
     * `scheduled`: the surest tokens first, as many in each step; `entropy`: all tokens that the model is sure enough of; `lr`: from left to right;
     * `random`: the control
     */
    mode: setting(Schema.Literals(orderModes), "scheduled"),
    /** Steps in which a response is revealed, at most */
    numSteps: setting(PositiveInt, 64),
    /** Mode `entropy`: tokens below this entropy are revealed, nats */
    entropyThreshold: setting(NonNegative, 1.5),
    /** Share of a sequence that plays the prompt, where the data do not say which part is one */
    contextRatio: setting(Share, 0.25),
    /** Of the mode `random` */
    seed: setting(Schema.Int, 0)
  }),
  outputs: { trajectories: Trajectories },
  // One more document asks the model only about that document.
  items: { inputs: ["teacher"] },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("trajectories")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { mode, numSteps: steps, seed } = parameters
      const teacher = yield* openTeacher(inputs)
      const { config, sequences, tokenizer, tokenShift, vocabulary } = teacher
      const { maskId: mask, padId: pad } = tokenizer
      const responses = responsesOf(
        sequences.filter(({ ids }) => ids.length >= leastTokens),
        parameters.contextRatio
      )
      const set = outputs.trajectories
      const keys = responses.map(response => set.key(materialOf(response, response.ids)))
      const missing = [...responses.keys()].filter(i => !set.has(keys[i]!))
      yield* metric("trajectories/new", missing.length)
      yield* metric("trajectories/reused", responses.length - missing.length)

      let done = 0
      const keep = (i: number, trajectory: Trajectory) =>
        Effect.gen(function* () {
          yield* set.put(keys[i]!, encodeTrajectory(trajectory, responses[i]!), {
            tokens: trajectory.revealedAt.length,
            forwards: trajectory.forwards
          })
          yield* progress({ done: ++done, total: missing.length, unit: "sequences" })
        })

      if (mode === "lr" || mode === "random") {
        for (const i of missing) {
          const { ids, promptLength } = responses[i]!
          const size = ids.length - promptLength
          yield* keep(
            i,
            mode === "lr"
              ? leftToRight(promptLength, size, steps)
              : randomOrder(promptLength, size, steps, keyOfIds(seed, "random trajectory", ids))
          )
        }
      } else if (missing.length > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const views = yield* loadTeacher(engine, teacher)
        for (const { batches, ...shape } of batchesOf(missing, i => responses[i]!.ids.length))
          yield* Effect.scoped(
            Effect.gen(function* () {
              const uncertainty = yield* makeUncertainty(engine, config, views, { ...shape, tokenShift })
              for (const batch of batches) {
                const found = yield* findOrders(
                  uncertainty,
                  batch.map(i => responses[i]!),
                  { mode, steps, threshold: parameters.entropyThreshold, mask, pad }
                )
                for (const [n, i] of batch.entries()) yield* keep(i, found[n]!)
              }
            })
          )
      }

      const sums = { tokens: 0, forwards: 0 }
      for (const key of keys) {
        const note = set.note(key) as typeof sums
        sums.tokens += note.tokens
        sums.forwards += note.forwards
      }
      yield* set.finish(keys, {
        trajectories: responses.length,
        skipped: sequences.length - responses.length,
        ...sums,
        mode,
        maskId: mask,
        vocabulary
      })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
