/**
 * Decoding by masked diffusion where the model computes: one program per step draws the likeliest tokens, finds the surest masks and reveals them,
 * so that nothing leaves the device before the last step. What `diffusionGenerate` does for one prompt at temperature 0 by the schedule `quota`.
 */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { type ModelConfig, parameterSpecs } from "../models/config.ts"
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
  log,
  max,
  mul,
  reshape,
  scatterAddAlong,
  select,
  sliceAxis,
  softmax,
  sub,
  sum,
  topK
} from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { entropyEpsilon } from "../decoding/sampling.ts"

/** How sure the model is of a token; see DiffusionDecoding. */
export const residentAlgorithms = ["maskgit_plus", "topk_margin", "entropy"] as const

export interface ResidentOptions {
  /** Tokens of the prompt and new ones. */
  readonly length: number
  readonly newTokens: number
  /** Denoising steps. */
  readonly steps: number
  readonly mask: number
  readonly algorithm: (typeof residentAlgorithms)[number]
}

/** Lower than any confidence. */
const never = -1e30

/** Confidence [N] in the likeliest token of each row of probabilities [N, V]. */
const confidence = (probabilities: Tensor, algorithm: ResidentOptions["algorithm"]): Tensor => {
  switch (algorithm) {
    case "maskgit_plus":
      return max(probabilities, 1)
    case "topk_margin": {
      const { values } = topK(probabilities, 2)
      return reshape(sub(sliceAxis(values, 1, 0, 1), sliceAxis(values, 1, 1, 2)), [probabilities.shape[0]!])
    }
    case "entropy":
      return sum(mul(probabilities, log(add(probabilities, entropyEpsilon))), 1)
  }
}

/** How many masks each step reveals: as many in each, those left over in the first ones. One program serves any number of steps. */
const quota = ({ newTokens, steps }: ResidentOptions): Int32Array =>
  Int32Array.from({ length: newTokens }, (_, j) =>
    j < steps ? Math.floor(newTokens / steps) + (j < newTokens % steps ? 1 : 0) : 0
  )

/** Prepares a model whose parameters lie in buffers; the function goes on from a prompt of `length - newTokens` tokens. */
export const makeResidentDecoder = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  options: ResidentOptions
): Effect.Effect<(prompt: ArrayLike<number>) => Effect.Effect<Int32Array, EngineError>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { algorithm, length, mask, newTokens, steps } = options
    const prompted = length - newTokens
    const specs = parameterSpecs(config)
    const named = new Map(specs.map(({ name, shape }) => [name, input(name, "f32", shape)]))
    const weights = weightsOf(config, name => named.get(name)!)
    const canvas = input("canvas", "i32", [1, length])
    const step = input("step", "i32", [1])

    const { final } = forward(config, weights, canvas, { causal: false })
    // The token at a place is predicted from the state before it.
    const before = reshape(sliceAxis(final, 1, prompted - 1, length - 1), [newTokens, config.hiddenSize])
    const isMaskToken = equal(iota("i32", [config.vocabSize]), mask)
    const scores = select(isMaskToken, constant(-Infinity, "f32"), logits(before, weights)) // [N, V]
    const tokens = cast(argmax(scores, 1), "i32") // [N]
    const current = reshape(sliceAxis(canvas, 1, prompted, length), [newTokens])
    const open = equal(current, mask)
    const sure = select(open, confidence(softmax(scores), algorithm), never)
    const { indices } = topK(sure, newTokens)
    const count = gather(input("quota", "i32", [newTokens]), step) // [1]
    const first = cast(less(iota("i32", [newTokens]), count), "i32")
    const chosen = equal(scatterAddAlong(zeros("i32", [newTokens]), indices, first, 0), 1)
    const next = select(and(open, chosen), tokens, current)
    const program = makeProgram({
      nextCanvas: concat([sliceAxis(canvas, 1, 0, prompted), reshape(next, [1, newTokens])], 1),
      nextStep: add(step, 1)
    })

    const data = {
      canvas: yield* engine.allocate("i32", [1, length]),
      step: yield* engine.allocate("i32", [1]),
      quota: yield* engine.allocate("i32", [newTokens])
    }
    yield* engine.upload(data.quota, quota(options))
    const executable = yield* engine.compile(program, { inPlace: { nextCanvas: "canvas", nextStep: "step" } })
    const own = Object.fromEntries(specs.map(({ name }) => [name, parameters[name]!]))
    const call = yield* engine.bind(executable, { ...own, ...data }, { nextCanvas: data.canvas, nextStep: data.step })
    // Further steps would have nothing to reveal.
    const calls = Array.from({ length: Math.min(steps, newTokens) }, () => call)
    return prompt =>
      Effect.gen(function* () {
        if (prompt.length !== prompted)
          return yield* Effect.die(new RangeError(`made for prompts of ${prompted} tokens, got ${prompt.length}`))
        const start = new Int32Array(length).fill(mask)
        start.set(Array.from(prompt))
        yield* engine.upload(data.canvas, start)
        yield* engine.upload(data.step, Int32Array.of(0))
        yield* engine.run(calls)
        return (yield* engine.download(data.canvas)) as Int32Array
      })
  })
