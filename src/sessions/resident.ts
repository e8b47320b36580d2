/**
 * Decoding by masked diffusion where the model computes: one program per step draws the likeliest tokens, finds the surest and reveals them, so that nothing leaves the device for many steps. It
 * makes exactly the texts of `diffusionGenerate`, which compares confidences in f64: where the order of two is closer than f32 can tell, the program stays at the step, and the host looks at the
 * logits of these places alone.
 */
import { Effect, Scope } from "effect"
import { type CanvasShape, canvasArrays, makeCanvas } from "../decoding/canvas.ts"
import {
  chosenPerStep,
  type DiffusionDecoding,
  type DiffusionRequest,
  type DiffusionResult,
  judge,
  originSteps,
  surest
} from "../decoding/diffusion.ts"
import { goesInBlocks, type MaskDecoding } from "../decoding/blockSettings.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { forward, logits, weightsOf } from "../models/decoder.ts"
import { zeros } from "../tensor/composites.ts"
import {
  add,
  and,
  argmax,
  cast,
  concat,
  constant,
  equal,
  gather,
  input,
  iota,
  less,
  max,
  neg,
  not,
  reshape,
  scatterAddAlong,
  select,
  sliceAxis,
  sub,
  topK
} from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type Bounded, surelyAmong, undrawable } from "../decoding/surely.ts"
import { confidenceIn, never } from "./confidence.ts"
import { inputsOf, makeSession } from "./session.ts"
import { greatest } from "../pipeline/lists.ts"

export interface ResidentOptions extends CanvasShape {
  readonly mask: number
  readonly tokenShift: boolean
  readonly decoding: Omit<DiffusionDecoding, "steps">
}

/**
 * Whether a decoding can be had here. Drawing at random adds up a vocabulary's probabilities until a random number is reached, as does `topP`: there f32 would be in doubt at nearly every token.
 * The noise of `algTemp` is the host's as well.
 */
export const isResident = (decoding: MaskDecoding): boolean => {
  const { alg, algTemp, temperature, topP = 1 } = decoding
  return !goesInBlocks(decoding) && temperature === 0 && topP === 1 && (algTemp === 0 || alg === "origin")
}

/** Steps that are run before the host asks whether one was in doubt, at most. */
const stepsAtOnce = 8
/** What is run after a doubt is for nothing: steps without one that allow one more at once, so that an eighth of all is in vain at most. */
const sureStepsPerStep = 8

/** One step, from prompts [rows, length - newTokens] and what stands behind them, [rows, newTokens]. `padded`: whether prompts may be shorter. */
const traceStep = (
  config: ModelConfig,
  parameter: (name: string) => Tensor,
  { decoding, length, mask, newTokens, rows, tokenShift }: ResidentOptions,
  padded: boolean
) => {
  const { alg, topK: kept } = decoding
  const places = rows * newTokens
  const weights = weightsOf(config, parameter)
  const response = input("response", "i32", [rows, newTokens])
  const step = input("step", "i32", [1])
  const ids = concat([input("prompt", "i32", [rows, length - newTokens]), response], 1)
  const { final } = forward(config, weights, ids, {
    causal: false,
    ...(padded
      ? { segmentIds: input("segmentIds", "i32", [rows, length]), positions: input("positions", "i32", [rows, length]) }
      : {})
  })
  const first = length - newTokens - (tokenShift ? 1 : 0)
  const hidden = reshape(sliceAxis(final, 1, first, first + newTokens), [places, config.hiddenSize])
  const found = logits(hidden, weights) // [places, V]
  const drawable = add(
    found,
    constant(new Float32Array(config.vocabSize).fill(never, mask, mask + 1), "f32", [config.vocabSize])
  )
  const there = reshape(response, [places])
  const masked = equal(there, mask)
  const likeliest = cast(argmax(drawable, 1), "i32")
  const tokens = alg === "p2" ? select(masked, likeliest, there) : likeliest
  const confidence = confidenceIn(kept === undefined ? drawable : largest(drawable, kept), tokens, alg)

  const byRow = (x: Tensor): Tensor => reshape(x, [rows, newTokens])
  const [score, tolerance] = [byRow(confidence.score), byRow(confidence.tolerance)]
  // `p2` judges all places again.
  const open = alg === "p2" ? equal(zeros("i32", [rows, newTokens]), 0) : byRow(masked)
  const surestOf = (counts: Tensor): Tensor => {
    const { indices } = topK(select(open, score, never), newTokens)
    const firstOnes = cast(less(iota("i32", [rows, newTokens]), counts), "i32")
    return equal(scatterAddAlong(zeros("i32", [rows, newTokens]), indices, firstOnes, 1), 1)
  }
  const chosen = and(
    open,
    alg === "origin"
      ? equal(input("revealedAt", "i32", [rows, newTokens]), step)
      : surestOf(reshape(gather(input("counts", "i32", [stepsAtOnce, rows]), step), [rows, 1]))
  )
  const next = select(chosen, byRow(tokens), alg === "p2" ? constant(mask, "i32") : response)

  const lowestChosen = neg(max(select(chosen, sub(tolerance, score), -Infinity), 1)) // [rows]
  const highestLeft = max(select(and(open, not(chosen)), add(score, tolerance), -Infinity), 1)
  const drawn = less(max(select(open, tolerance, 0), 1), undrawable)
  const sure = alg === "origin" ? drawn : and(drawn, less(highestLeft, lowestChosen))
  const allSure = equal(max(cast(not(sure), "i32"), 0, { keepDims: true }), 0) // [1]
  return {
    nextResponse: select(allSure, next, response),
    nextStep: add(step, cast(allSure, "i32")),
    logits: found,
    tokens,
    score,
    tolerance
  }
}

/** The k largest of each row, and those that tie with the last of them; `never` for all others. */
const largest = (scores: Tensor, k: number): Tensor => {
  if (k >= scores.shape[1]!) return scores
  const last = sliceAxis(topK(scores, k).values, 1, k - 1, k)
  return select(less(scores, last), never, scores)
}

/** Prompts that are decoded together. */
export interface BatchRequest extends Pick<DiffusionRequest, "keys" | "onStep" | "pad" | "prompts"> {
  readonly steps: number
}

export interface BatchResult extends DiffusionResult {
  /** What the engine took for them. */
  readonly forwardMs: number
}

/** Prepares a model whose parameters lie in buffers for as many prompts at once as there are rows. */
export const makeResidentDecoder = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  options: ResidentOptions
): Effect.Effect<(request: BatchRequest) => Effect.Effect<BatchResult, EngineError>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { decoding, length, mask, newTokens, rows } = options
    const scope = yield* Effect.scope
    const sessionOf = (padded: boolean) =>
      Effect.cached(
        Effect.provideService(
          Effect.suspend(() =>
            makeSession(engine, traceStep(config, inputsOf(parameters), options, padded), parameters, {
              nextResponse: "response",
              nextStep: "step"
            })
          ),
          Scope.Scope,
          scope
        )
      )
    // Without padding nothing is masked, which attention has faster ways for.
    const [unpadded, padded] = [yield* sessionOf(false), yield* sessionOf(true)]

    /** Steps since the last doubt. */
    let sure = stepsAtOnce * sureStepsPerStep

    return ({ keys, onStep, pad, prompts, steps: allowed }) =>
      Effect.gen(function* () {
        const settings = { ...decoding, steps: allowed }
        const canvas = makeCanvas(prompts, { length, newTokens, mask, pad })
        const session = yield* canvas.pads.some(columns => columns > 0) ? padded : unpadded
        const { memory } = session
        const read = <Array_ extends Int32Array | Float32Array>(name: string) =>
          Effect.map(engine.download(memory[name]!), values => values as Array_)
        const texts = Effect.map(read<Int32Array>("response"), response =>
          prompts.map((prompt, row) =>
            Int32Array.from([...Array.from(prompt), ...response.subarray(row * newTokens, (row + 1) * newTokens)])
          )
        )
        const byChance = decoding.alg === "origin"
        const chosen = byChance ? [] : chosenPerStep(settings, newTokens)
        const revealedAt = new Int32Array(rows * newTokens)
        if (byChance)
          for (const [row, key] of keys.entries())
            revealedAt.set(originSteps(settings, key, newTokens), row * newTokens)
        const steps = byChance ? 1 + greatest(revealedAt.subarray(0, prompts.length * newTokens)) : chosen.length

        /** Makes step j, at which the program stayed: the host judges the places whose order is in doubt. */
        const settle = (j: number) =>
          Effect.gen(function* () {
            const [score, tolerance] = [yield* read<Float32Array>("score"), yield* read<Float32Array>("tolerance")]
            const [tokens, response] = [yield* read<Int32Array>("tokens"), yield* read<Int32Array>("response")]
            for (const row of prompts.keys()) {
              const all = Array.from({ length: newTokens }, (_, i) => row * newTokens + i)
              const open = all
                .filter(place => decoding.alg === "p2" || response[place] === mask)
                .map((place): Bounded => ({ place, score: score[place]!, tolerance: tolerance[place]! }))
              const { certain, contested } = byChance
                ? {
                    certain: open.filter(({ place }) => revealedAt[place] === j),
                    contested: open.filter(each => each.tolerance >= undrawable)
                  }
                : surelyAmong(open, chosen[j]!)
              const judged = yield* Effect.forEach(contested, ({ place }) =>
                Effect.gen(function* () {
                  const own = yield* engine.view(memory["logits"]!, place * config.vocabSize, [config.vocabSize])
                  const row = (yield* engine.download(own)) as Float32Array
                  row[mask] = -Infinity
                  const there = response[place] === mask ? undefined : response[place]
                  return judge(settings, { place, logits: row, there, uniform: 0 })
                })
              )
              const kept = [...certain, ...surest(judged, (chosen[j] ?? 0) - certain.length)]
              if (decoding.alg === "p2") for (const place of all) response[place] = mask
              for (const { place } of kept) response[place] = tokens[place]!
            }
            yield* session.upload({ response })
          })

        const prompt = new Int32Array(rows * (length - newTokens))
        const arrays = canvasArrays(canvas, { rows, length })
        for (let row = 0; row < rows; row++)
          prompt.set(arrays.ids.subarray(row * length, (row + 1) * length - newTokens), row * (length - newTokens))
        const response = new Int32Array(rows * newTokens).fill(mask)
        yield* session.upload({ ...arrays, prompt, response })

        let forwardMs = 0
        for (let j = 0; j < steps;) {
          const ahead = Math.min(stepsAtOnce, 1 + Math.floor(sure / sureStepsPerStep), steps - j)
          const times = onStep === undefined ? ahead : 1
          const begun = performance.now()
          yield* session.upload({
            step: Int32Array.of(0),
            revealedAt: revealedAt.map(at => at - j),
            counts: Int32Array.from({ length: stepsAtOnce * rows }, (_, i) =>
              i % rows < prompts.length ? (chosen[j + Math.floor(i / rows)] ?? 0) : 0
            )
          })
          yield* session.compute(times)
          const done = (yield* read<Int32Array>("nextStep"))[0]!
          forwardMs += performance.now() - begun
          j += done
          sure += done
          if (done < times) {
            yield* settle(j++)
            sure = 0
          }
          if (onStep !== undefined) yield* onStep(j, yield* texts)
        }
        return { sequences: yield* texts, forwards: steps, forwardMs }
      })
  })
