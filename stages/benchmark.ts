/** Times a diffusion model: the decoding loop on its own weights, warmed up and repeated. */
import { cpus } from "node:os"
import { Effect, Schema } from "effect"
import { byMethod } from "../src/config/byMethod.ts"
import { PositiveInt, setting } from "../src/config/setting.ts"
import { untilEnd } from "../src/sessions/generator.ts"
import { makeEngine } from "../src/engines/make.ts"
import { matmulPeak } from "../src/engines/matmulPeak.ts"
import { BenchmarkResult } from "../src/evaluation/results.ts"
import { type TimedCall, timingOf } from "../src/evaluation/timing.ts"
import { filesOf } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import * as latents from "./decoding/byLatents.ts"
import * as masks from "./decoding/byMasks.ts"
import { decodingMethods, modelOf, parametersOf } from "./decodingMethods.ts"
import { writeResult } from "./evaluate/writeResult.ts"
import { Benchmark, ModelFiles } from "../src/artifacts/kinds.ts"
import { greatest, least } from "../src/pipeline/lists.ts"

/** What is asked of every method. The defaults are for the small models of the embedded profile: about ten seconds on two processors. */
const common = {
  /** What the texts continue */
  prompt: setting(Schema.String, "The future of the people lies in"),
  /** Texts per call */
  batch: setting(PositiveInt, 1),
  /** Tokens of a text */
  newTokens: setting(PositiveInt, 128),
  /** Denoising steps of a call */
  steps: setting(Schema.Array(PositiveInt), [8, 16, 32, 64, 128]),
  /** Calls before the first that counts. All have the same shapes, so that those with the fewest steps warm up the others */
  warmUp: setting(PositiveInt, 3),
  /** Calls that count, of each number of steps at least. Calls of different steps take turns */
  repeats: setting(PositiveInt, 2),
  /** Forward passes that count, of each number of steps at least: few steps are called more often */
  timedForwards: setting(PositiveInt, 32),
  /** Of the texts */
  seed: setting(Schema.Int, 0)
} as const

export const benchmarkMethods = parametersOf(
  common,
  () => ({ decoding: masks.decoding({}) }),
  () => ({ decoding: latents.decoding({}) })
)

export const benchmark = Stage.make("benchmark", {
  inputs: { model: ModelFiles },
  parameters: byMethod("method", "masked", benchmarkMethods),
  outputs: { benchmark: Benchmark },
  methods: decodingMethods,
  engine: true,
  // All processors: nothing else of ours may run meanwhile.
  resources: { cpus: Stage.allProcessors, memoryMiB: 2048 },
  run: Effect.fn("benchmark")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { batch, newTokens, repeats, seed, timedForwards, warmUp } = parameters
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const { model, own } = yield* modelOf(parameters.method, engine, yield* filesOf(inputs.model))
      const prompt = model.tokenizer.encode(parameters.prompt)
      if (prompt.length === 0) return yield* permanent("the prompt is empty")
      const prompts = Array<Int32Array>(batch).fill(prompt)
      const generator = yield* own.generator(
        engine,
        model,
        { prompts: batch, promptTokens: prompt.length, newTokens },
        parameters.decoding
      )
      const idle = parameters.steps.find(steps => generator.stepsThatCount(steps) < steps)
      if (idle !== undefined)
        return yield* permanent(
          `steps has ${idle}, but ${newTokens} tokens take ${generator.stepsThatCount(idle)} steps at most`,
          "ask for fewer steps or more newTokens"
        )

      const call = (steps: number) =>
        Effect.gen(function* () {
          const start = performance.now()
          const { sequences, ...spent } = yield* generator.generate({ prompts, steps, seed })
          const ms = performance.now() - start
          const useful = sequences.map(ids => untilEnd(ids.subarray(prompt.length), model.tokenizer.ends).length)
          const { flops, forwardMs, passes } = spent
          const [tokens, forwards, usefulTokens] = [spent.tokens, spent.forwards, useful].map(sum) as [
            number,
            number,
            number
          ]
          const timed: TimedCall = { ms, forwardMs, passes, flops, tokens, forwards, usefulTokens }
          return { ...timed, ahead: greatest(spent.ahead ?? [], 0) }
        })
      const before = yield* matmulPeak(engine)
      const fewest = least(parameters.steps)
      // Passes before the first step: a method that draws latents first makes many in every call.
      let others = 0
      for (let i = 0; i < warmUp; i++) others = (yield* call(fewest)).ahead

      const wanted = parameters.steps.map(steps => Math.max(repeats, Math.ceil(timedForwards / (steps + others))))
      const total = wanted.reduce((sum, calls) => sum + calls, 0)
      const timed = parameters.steps.map((): Array<TimedCall> => [])
      let done = 0
      for (let round = 0; done < total; round++)
        for (const [i, steps] of parameters.steps.entries()) {
          if (round >= wanted[i]!) continue
          yield* progress({ done, total, unit: "calls", note: `${steps} steps` })
          timed[i]!.push(yield* call(steps))
          done++
        }
      // The faster of two measurements: others may have slowed one down.
      const after = yield* matmulPeak(engine)
      const peak = Math.max(before.perSecond, after.perSecond)

      const result: BenchmarkResult = {
        engine: numericClass,
        threads: slots.cpus,
        weights: inputs.model.digest,
        batch,
        warmUp,
        repeats,
        peakMiB: process.resourceUsage().maxRSS / 1024,
        matmulPeak: peak,
        machine: { processor: cpus()[0]?.model.trim() ?? "unknown", processors: cpus().length, at: Date.now() },
        results: parameters.steps.map((steps, i) => timingOf(timed[i]!, { steps, newTokens, peak }))
      }
      for (const { msPerForward, steps, tokensPerSecond } of result.results) {
        yield* metric(`inference/steps_${steps}/tok_per_sec`, tokensPerSecond)
        yield* metric(`inference/steps_${steps}/step_time_ms`, msPerForward)
      }
      yield* metric("inference/mem_peak_gb", (result.peakMiB * 2 ** 20) / 1e9)
      yield* writeResult(outputs.benchmark, "benchmark.json", BenchmarkResult, result)
      yield* outputs.benchmark.metadata({ weights: inputs.model.digest })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})

const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0)
