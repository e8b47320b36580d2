/** Finds in which order a model would reveal the tokens of given responses: masks of a training can follow these trajectories instead of chance. */
import { Effect, Schema } from "effect"
import { allSequences } from "../src/artifacts/sequences.ts"
import { PositiveInt, setting, Share, NonNegative } from "../src/config/setting.ts"
import { diffusionGenerate, mdmDefaults } from "../src/decoding/diffusion.ts"
import { findOrders, type Response } from "../src/methods/shared/trajectories/findOrders.ts"
import { makeUncertainty } from "../src/methods/shared/trajectories/uncertainty.ts"
import { makeDenoiser } from "../src/sessions/query.ts"
import { anchorKey } from "../src/methods/shared/anchors/anchors.ts"
import { fillMaskRow } from "../src/methods/shared/masks/maskRow.ts"
import { leftToRight, randomOrder, type Trajectory } from "../src/methods/shared/trajectories/trajectory.ts"
import { encodeRecord } from "../src/methods/shared/trajectories/trajectories.ts"
import { makeEngine } from "../src/engines/make.ts"
import { filesOf, loadParameters, openModel } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { randomKey } from "../src/tensor/random.ts"
import { ModelFiles, TokenSequences, trajectoryModes, Trajectories } from "../src/artifacts/kinds.ts"

/** Sequences of a pass. */
const rows = 8
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
     * `random`: the control; `free`: the model writes text of its own behind each sequence
     */
    mode: setting(Schema.Literals(trajectoryModes), "scheduled"),
    /** Steps in which a response is revealed, at most */
    numSteps: setting(PositiveInt, 64),
    /** Mode `entropy`: tokens below this entropy are revealed, nats */
    entropyThreshold: setting(NonNegative, 1.5),
    /** Share of a sequence that plays the prompt, where the data do not say which part is one */
    contextRatio: setting(Share, 0.25),
    /** Mode `free`: tokens that are written behind each sequence */
    newTokens: setting(PositiveInt, 128),
    /** Of the modes `random` and `free` */
    seed: setting(Schema.Int, 0)
  }),
  outputs: { trajectories: Trajectories },
  // One more document asks the model only about that document.
  items: { inputs: ["teacher"] },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("trajectories")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { mode, newTokens, numSteps: steps, seed } = parameters
      const teacher = yield* openModel(yield* filesOf(inputs.teacher))
      const { config, tokenizer } = teacher
      const mask = tokenizer.maskId
      const pad = tokenizer.padId
      if (config.vocabSize <= mask)
        return yield* permanent(
          `the mask token has id ${mask}, but the model's embedding has ${config.vocabSize} rows`,
          "a model of this tokenizer with room for the mask is needed"
        )
      const all = yield* allSequences(inputs.sequences)
      const responses = all
        .filter(({ ids }) => ids.length >= leastTokens)
        .map(({ ids, lossMask }): Response => ({ ids, promptLength: promptOf(lossMask, parameters.contextRatio) }))
        .filter(({ ids, promptLength }) => promptLength < ids.length)
      const set = outputs.trajectories
      const keys = responses.map(({ ids, promptLength }) => set.key(`${anchorKey(ids)} ${promptLength}`))
      const missing = [...responses.keys()].filter(i => !set.has(keys[i]!))
      yield* metric("trajectories/new", missing.length)
      yield* metric("trajectories/reused", responses.length - missing.length)

      let done = 0
      const keep = (i: number, trajectory: Trajectory, ids: ArrayLike<number> = responses[i]!.ids) =>
        Effect.gen(function* () {
          const { ids: given } = responses[i]!
          const record = { ...trajectory, sequence: anchorKey(given), ids: Array.from(ids) }
          yield* set.put(keys[i]!, encodeRecord(record), {
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
              : randomOrder(promptLength, size, steps, randomKey(seed, "random trajectory", ...keyOf(ids)))
          )
        }
      } else if (missing.length > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const views = yield* loadParameters(engine, teacher)
        yield* fillMaskRow(engine, { views }, teacher)
        const maxSeqLen = inputs.sequences.metadata.maxSeqLen
        if (mode === "free") {
          const length = maxSeqLen + newTokens
          const denoiser = yield* makeDenoiser(engine, config, views, { rows: 1, length, places: newTokens })
          for (const i of missing) {
            const { ids } = responses[i]!
            const revealedAt = Array<number>(newTokens).fill(0)
            const { forwards, sequences } = yield* diffusionGenerate(denoiser, {
              prompts: [ids],
              maxNewTokens: newTokens,
              mask,
              pad,
              seed,
              settings: { ...freeDecoding, steps },
              onStep: (step, [row]) =>
                Effect.sync(() => {
                  for (let k = 0; k < newTokens; k++)
                    if (revealedAt[k] === 0 && row![ids.length + k] !== mask) revealedAt[k] = step
                })
            })
            yield* keep(i, { promptLength: ids.length, revealedAt, forwards }, sequences[0]!)
          }
        } else {
          const uncertainty = yield* makeUncertainty(engine, config, views, { rows, length: maxSeqLen })
          // Sequences of like length are done after like numbers of steps.
          const sorted = missing.toSorted((a, b) => responses[a]!.ids.length - responses[b]!.ids.length)
          for (let start = 0; start < sorted.length; start += rows) {
            const batch = sorted.slice(start, start + rows)
            const found = yield* findOrders(
              uncertainty,
              batch.map(i => responses[i]!),
              { mode, steps, threshold: parameters.entropyThreshold, mask, pad }
            )
            for (const [n, i] of batch.entries()) yield* keep(i, found[n]!)
          }
        }
      }

      const sums = { tokens: 0, forwards: 0 }
      for (const key of keys) {
        const note = set.note(key) as typeof sums
        sums.tokens += note.tokens
        sums.forwards += note.forwards
      }
      yield* set.finish(keys, {
        trajectories: responses.length,
        skipped: all.length - responses.length,
        ...sums,
        mode,
        maskId: mask
      })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})

/** Of the seed's extractor of trajectories. */
const freeDecoding = { ...mdmDefaults, eps: 1e-3 } as const

/** Tokens of the prompt: those before the first that is learnt, or a share of a text that is learnt from its beginning. */
const promptOf = (lossMask: ArrayLike<number>, contextRatio: number): number => {
  const first = Array.from(lossMask).indexOf(1)
  return first > 0 ? first : Math.max(1, Math.floor(contextRatio * lossMask.length))
}

/** The words of a sequence's key, as counters of a random key. */
const keyOf = (ids: ArrayLike<number>): ReadonlyArray<number> => {
  const key = anchorKey(ids)
  return [Number.parseInt(key.slice(0, 8), 16), Number.parseInt(key.slice(8), 16)]
}
