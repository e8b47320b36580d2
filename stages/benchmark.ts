/** Times a masked-diffusion model: the decoding loop on its own weights. */
import { Effect, Schema } from "effect"
import { asStageError } from "../src/data/obtain.ts"
import { makeDenoiser } from "../src/decoding/denoiser.ts"
import { type Denoiser, DiffusionDecoding, diffusionGenerate } from "../src/decoding/diffusion.ts"
import { makeEngine } from "../src/engines/make.ts"
import { matmulPeak } from "../src/engines/matmulPeak.ts"
import { filesOf, openModel } from "../src/models/artifact.ts"
import { parameterAliases, parameterSpecs } from "../src/models/config.ts"
import { trainingFlops } from "../src/models/flops.ts"
import { allocateParameters } from "../src/models/parameters.ts"
import { loadWeights } from "../src/models/weights.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent, StageError } from "../src/pipeline/StageError.ts"
import { Benchmark, ModelFiles } from "./kinds.ts"

const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
const orElse = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

export const benchmark = Stage.make("benchmark", {
  description: "Times the decoding of a diffusion model",
  inputs: { model: ModelFiles },
  parameters: Schema.Struct({
    prompt: orElse(Schema.String, "The future of the people lies in"),
    newTokens: orElse(PositiveInt, 128),
    steps: orElse(Schema.Array(PositiveInt), [8, 16, 32, 64, 128]),
    /** Calls before the first that counts, and calls that count. */
    warmUp: orElse(PositiveInt, 1),
    repeats: orElse(PositiveInt, 5),
    decoding: orElse(Schema.Struct({ ...DiffusionDecoding.fields, steps: Schema.optionalKey(Schema.Never) }), {})
  }),
  outputs: { benchmark: Benchmark },
  engine: true,
  // All processors: nothing else of ours may run meanwhile.
  resources: { cpus: 2, memoryMiB: 2048 },
  run: Effect.fn("benchmark")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { newTokens, repeats, warmUp } = parameters
      const { config, tensors, tokenizer } = yield* openModel(yield* filesOf(inputs.model))
      const prompt = tokenizer.encode(parameters.prompt)
      if (prompt.length === 0) return yield* permanent("the prompt is empty")
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const buffers = yield* allocateParameters(engine, parameterSpecs(config))
      yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
      const length = prompt.length + newTokens
      const denoiser = yield* makeDenoiser(engine, config, buffers.views, { rows: 1, length, wanted: newTokens })
      const { perSecond: peak } = yield* matmulPeak(engine)
      /** Forward is a third of forward and backward. */
      const flopsPerForward = trainingFlops(config, [length]) / 3

      const results: Array<Timing> = []
      for (const steps of parameters.steps) {
        const timed: Array<{ readonly ms: number; readonly forwardMs: number; readonly forwards: number }> = []
        for (let call = 0; call < warmUp + repeats; call++) {
          yield* progress({ done: call, total: warmUp + repeats, unit: "calls", note: `${steps} steps` })
          const watched = timing(denoiser)
          const start = performance.now()
          const { forwards } = yield* diffusionGenerate(watched.denoiser, {
            prompts: [prompt],
            maxNewTokens: newTokens,
            mask: tokenizer.maskId,
            pad: tokenizer.padId,
            seed: call,
            settings: { ...parameters.decoding, steps }
          })
          const ms = performance.now() - start
          if (call >= warmUp) timed.push({ ms, forwardMs: watched.spent(), forwards })
        }
        const milliseconds = timed.map(({ ms }) => ms).toSorted((a, b) => a - b)
        const median = milliseconds[Math.floor(milliseconds.length / 2)]!
        const { forwardMs, forwards } = timed.toSorted((a, b) => a.ms - b.ms)[Math.floor(timed.length / 2)]!
        const result: Timing = {
          steps,
          newTokens,
          forwards,
          milliseconds,
          median,
          msPerForward: median / forwards,
          tokensPerSecond: (newTokens * 1000) / median,
          tokensPerForward: newTokens / forwards,
          shareOfPeak: (flopsPerForward * forwards) / (forwardMs / 1000) / peak
        }
        results.push(result)
        yield* metric(`inference/steps_${steps}/tok_per_sec`, result.tokensPerSecond)
        yield* metric(`inference/steps_${steps}/step_time_ms`, result.msPerForward)
      }
      const peakMiB = process.resourceUsage().maxRSS / 1024
      yield* metric("inference/mem_peak_gb", (peakMiB * 2 ** 20) / 1e9)
      const file = {
        engine: numericClass,
        threads: slots.cpus,
        weights: inputs.model.digest,
        peakMiB,
        matmulPeak: peak,
        results
      }
      yield* outputs.benchmark.write("benchmark.json", `${JSON.stringify(file, null, 2)}\n`)
      yield* outputs.benchmark.metadata({ weights: inputs.model.digest })
    },
    Effect.scoped,
    Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
  )
})

interface Timing {
  readonly steps: number
  readonly newTokens: number
  readonly forwards: number
  /** Of each call, ascending. */
  readonly milliseconds: ReadonlyArray<number>
  readonly median: number
  readonly msPerForward: number
  readonly tokensPerSecond: number
  readonly tokensPerForward: number
  /** Operations of the forward passes in their time, as a share of the speed of a matrix product. */
  readonly shareOfPeak: number
}

/** A denoiser that notes how long it takes. */
const timing = <E>(denoiser: Denoiser<E>) => {
  let spent = 0
  return {
    spent: () => spent,
    denoiser: {
      ...denoiser,
      logits: (...args: Parameters<Denoiser<E>["logits"]>) =>
        Effect.suspend(() => {
          const start = performance.now()
          return Effect.tap(denoiser.logits(...args), () =>
            Effect.sync(() => void (spent += performance.now() - start))
          )
        })
    } satisfies Denoiser<E>
  }
}
