/** A text depends on the seed, its prompt and which repetition of it this is: on no place, no company and no size of a batch, whatever decodes it. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as fc from "fast-check"
import { goesInBlocks, type MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { algorithms, schedules } from "../../src/decoding/diffusion.ts"
import { textKeys } from "../../src/decoding/draws.ts"
import type { WrittenText } from "../../src/decoding/openBatch.ts"
import type { Sampling } from "../../src/decoding/sampling.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { colaFormat } from "../../src/methods/cola/networks.ts"
import { ldlmFormat } from "../../src/methods/ldlm/networks.ts"
import { decodings, type MethodName } from "../../src/methods/Method.ts"
import { vfmFormat } from "../../src/methods/vfm/networks.ts"
import type { LoadedModel } from "../../src/models/artifact.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import { causalGenerator } from "../../src/sessions/autoregressive.ts"
import { type Generator, type GeneratorShape, untilEnd } from "../../src/sessions/generator.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { hybridConfig, modelConfig } from "../support/tinyModel.ts"

const [vocabSize, mask, pad, eosId] = [20, 19, 0, 18]
const attention = modelConfig({ vocabSize, initializerRange: 0.5 })
const inBlocks = modelConfig({ vocabSize, initializerRange: 0.5, attentionBlockSize: 2 })
const newTokens = 5
/** Of different lengths. */
const known = [[1, 2, 3], [4], [5, 6, 7, 8, 2, 1, 3], [9, 1]].map(ids => Int32Array.from(ids))
const longest = 7
const repetitions = 3

const latentOf = {
  vfm: [vfmFormat, { adapter_layers: 1, adapter_heads: 2, max_seq_len: 16 }],
  cola: [
    colaFormat,
    {
      cola_num_global: 2,
      cola_num_local: 4,
      cola_block_size: 2,
      cola_encoder_depth: 1,
      cola_diffusion_depth: 1,
      cola_heads: 2,
      cola_decoder_layers: 1,
      cola_max_length: 16
    }
  ],
  ldlm: [
    ldlmFormat,
    {
      networks: {
        seq_len: 2,
        depth: 1,
        heads: 2,
        decoder_num_layers: 1,
        diffusion_head_depth: 1,
        encoder_hidden_layer: 1,
        prompt_length: 5,
        sampler_eta: 0.5
      },
      state_statistics: [1, 0, 1],
      latent_statistics: [1, 0, 1]
    }
  ]
} as const

interface Case {
  readonly method: MethodName | "ar"
  readonly config?: ModelConfig
  readonly decoding: Sampling & Partial<MaskDecoding>
  readonly draftTokens?: number
  /** Whether nothing is drawn. */
  readonly certain?: boolean
}

const drawn = { temperature: 1, algTemp: 0, schedule: "quota", eps: 1e-3, alg: "entropy" } as const
const surest = { ...drawn, alg: "maskgit_plus" } as const
const cases: { readonly [name: string]: Case } = {
  "token by token": { method: "ar", decoding: { temperature: 1 } },
  "token by token, a hybrid": {
    method: "ar",
    config: hybridConfig({ vocab_size: vocabSize, initializer_range: 0.5 }),
    decoding: { temperature: 1, topP: 0.95 }
  },
  "token by token, drafted": { method: "ar", decoding: { temperature: 0.7 }, draftTokens: 2 },
  ...Object.fromEntries(
    algorithms.map(alg => [`masks by ${alg}`, { method: "masked", decoding: { ...drawn, alg } }] as const)
  ),
  ...Object.fromEntries(
    schedules.map(
      schedule =>
        [`masks by chance, ${schedule}`, { method: "masked", decoding: { ...drawn, algTemp: 0.5, schedule } }] as const
    )
  ),
  "masks in a random order, likeliest tokens": {
    method: "masked",
    decoding: { ...drawn, temperature: 0, alg: "origin" }
  },
  "likeliest tokens, where the model computes": {
    method: "masked",
    decoding: { ...drawn, temperature: 0 },
    certain: true
  },
  "likeliest tokens by p2, where the model computes": {
    method: "masked",
    decoding: { ...drawn, temperature: 0, alg: "p2" },
    certain: true
  },
  "likeliest tokens in blocks, cached": {
    method: "masked",
    decoding: { ...surest, temperature: 0, blockLength: 2, threshold: 0.3, cache: "prefix" },
    certain: true
  },
  blocks: { method: "masked", decoding: { ...drawn, blockLength: 2 } },
  "blocks by a threshold, cached": {
    method: "masked",
    decoding: { ...surest, blockLength: 2, threshold: 0.3, cache: "dual" }
  },
  "several blocks at a time": {
    method: "masked",
    decoding: { ...drawn, blockLength: 2, entropyThreshold: 1.5, blockAddThreshold: 0.5 }
  },
  bd3lm: { method: "bd3lm", config: inBlocks, decoding: { ...surest, threshold: 0.3 } },
  vfm: { method: "vfm", decoding: drawn },
  "vfm, likeliest tokens": { method: "vfm", decoding: { ...drawn, temperature: 0 } },
  "vfm in blocks": { method: "vfm", decoding: { ...drawn, blockLength: 2 } },
  cola: { method: "cola", decoding: drawn },
  "cola, likeliest tokens": { method: "cola", decoding: { ...drawn, temperature: 0 } },
  "cola in blocks": { method: "cola", decoding: { ...surest, blockLength: 2, threshold: 0.3 } },
  ldlm: { method: "ldlm", decoding: { temperature: 1 } },
  "ldlm, likeliest tokens": { method: "ldlm", decoding: { temperature: 0 } }
}

type Make = (rows: number, promptTokens: number) => Effect.Effect<Generator<unknown>, unknown, Scope.Scope>

/** Random weights, those that begin as zeros among them: what a method adds must matter. */
const loaded = ({
  config = attention,
  decoding,
  draftTokens,
  method
}: Case): Effect.Effect<Make, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const engine = makeReference()
    const ends = new Set([eosId])
    const tokenizer = { ends, maskId: mask, padId: pad }
    const [format, fields] = latentOf[method as keyof typeof latentOf] ?? []
    const latent = format && (yield* format.decode({ [method]: fields }, config))
    const own = (format as typeof vfmFormat | undefined)?.specs(latent as never, config) ?? []
    const parameters = yield* allocateParameters(engine, [...parameterSpecs(config), ...own])
    yield* initialise(engine, parameters, 4)
    for (const { initial, name, shape } of own) {
      const size = shape.reduce((product, n) => product * n, 1)
      if (initial === "ones" || /bias$|positions$|latents$/.test(name)) continue
      const values = normals(randomKey(2, name), size).map(x => x / 2)
      yield* engine.upload(parameters.views[name]!, values)
    }
    const model = { config, latent, parameters: parameters.views, tokenShift: true, tokenizer }
    const shapeOf = (prompts: number, promptTokens: number): GeneratorShape => ({ prompts, promptTokens, newTokens })
    if (method === "ar")
      return (rows, promptTokens) =>
        causalGenerator(
          engine,
          model,
          shapeOf(rows, promptTokens),
          decoding,
          draftTokens === undefined ? undefined : { drafter: model, draftTokens }
        )
    const { generator } = yield* Effect.promise(decodings[method])
    return (rows, promptTokens) =>
      generator(engine, model as unknown as LoadedModel, shapeOf(rows, promptTokens), decoding)
  })

const steps = 3
const written = (generator: Generator<unknown>, prompts: ReadonlyArray<Int32Array>, seed = 7) =>
  Effect.map(generator.generate({ prompts, steps, seed }), ({ sequences }) =>
    sequences.map((ids, i) => [...ids.subarray(prompts[i]!.length)].join(" "))
  )

describe("the texts of a seed", () => {
  it.live.each(Object.keys(cases))(
    "are those of their prompts, in any order, company and batch: %s",
    name =>
      Effect.scoped(
        Effect.gen(function* () {
          const { certain = false } = cases[name]!
          const make = yield* loaded(cases[name]!)
          /** Of each prompt its texts, when nothing else is asked for and one is written at a time. */
          const alone = yield* Effect.forEach(known, prompt =>
            Effect.flatMap(make(1, prompt.length), generator =>
              written(generator, Array<Int32Array>(repetitions).fill(prompt))
            )
          )
          expect(Math.max(...alone.map(texts => new Set(texts).size)) > 1).toBe(!certain)
          const samples = fc.sample(
            fc.record({
              asked: fc
                .array(fc.nat(known.length - 1), { minLength: 1, maxLength: 6 })
                .filter(asked => known.every((_, p) => asked.filter(each => each === p).length <= repetitions)),
              rows: fc.integer({ min: 1, max: 4 })
            }),
            { numRuns: 4, seed: 11 }
          )
          for (const { asked, rows } of samples) {
            const prompts = asked.map(p => known[p]!)
            const repetitionOf = (i: number): number => asked.slice(0, i).filter(p => p === asked[i]).length
            const generator = yield* make(rows, longest)
            expect(yield* written(generator, prompts), JSON.stringify({ asked, rows })).toEqual(
              asked.map((p, i) => alone[p]![repetitionOf(i)])
            )
          }
          const generator = yield* make(2, longest)
          if (certain) expect(yield* written(generator, known, 8)).toEqual(yield* written(generator, known))
          else expect(yield* written(generator, known, 8)).not.toEqual(yield* written(generator, known))
        })
      ),
    60_000
  )

  it.live.each(Object.keys(cases))(
    "are those that they have alone, where texts come in the middle and others leave: %s",
    name =>
      Effect.scoped(
        Effect.gen(function* () {
          const make = yield* loaded(cases[name]!)
          const keys = textKeys({ seed: 7, prompts: known })
          const wanted = known.map((prompt, i) => ({ prompt, key: keys[i]!, steps }))
          const alone = yield* Effect.forEach(known, prompt =>
            Effect.flatMap(make(1, prompt.length), generator =>
              generator.generate({ prompts: [prompt], steps, seed: 7 })
            )
          )
          const generator = yield* make(2, longest)
          const { batch, begin } = generator.open({ stepwise: true })
          const [first, second, third, fourth] = wanted.map(begin) as [
            WrittenText,
            WrittenText,
            WrittenText,
            WrittenText
          ]
          batch.admit(first)
          yield* batch.step()
          // Takes the other row, and is dropped before its end.
          batch.admit(second)
          yield* batch.step()
          batch.drop(second)
          batch.admit(third)
          const waiting = [fourth]
          while (batch.open.length > 0) {
            if (batch.free > 0 && waiting.length > 0) batch.admit(waiting.pop()!)
            yield* batch.step()
          }
          for (const [i, text] of [first, second, third, fourth].entries()) {
            if (text === second && !second.done) continue
            const { forwards, sequences } = alone[i]!
            expect([...text.shown]).toEqual([...sequences[0]!])
            expect(text.forwards + text.passesBeside).toBe(forwards[0])
          }
        })
      ),
    60_000
  )

  it.live.each(Object.keys(cases))(
    "are the same with steps that tell how sure the model was, and end early where they are asked to: %s",
    name =>
      Effect.scoped(
        Effect.gen(function* () {
          const { decoding, method } = cases[name]!
          const generator = yield* Effect.flatMap(loaded(cases[name]!), make => make(2, longest))
          const request = { prompts: known, steps, seed: 7 }
          const countsOf = ({ forwards, passes, tokens }: Effect.Success<ReturnType<typeof generator.generate>>) => ({
            forwards,
            passes,
            tokens
          })
          const newOf = (ids: Int32Array, i: number): Int32Array => ids.subarray(known[i]!.length)
          const last = new Map<number, { readonly tokens: Int32Array; readonly confidence: Float32Array }>()
          const watched = yield* generator.generate({
            ...request,
            onStep: (number, _step, text, confidence) =>
              Effect.sync(() => {
                const tokens = newOf(text, number)
                expect(confidence).toHaveLength(newTokens)
                for (const [i, p] of confidence.entries()) {
                  if (tokens[i] === mask) expect(p).toBeNaN()
                  if (Number.isNaN(p)) continue
                  expect(p > 0 && p <= 1).toBe(true)
                  const before = last.get(number)
                  if (before !== undefined && before.tokens[i] === tokens[i]) expect(p).toBe(before.confidence[i])
                }
                last.set(number, { tokens, confidence })
              })
          })
          const quiet = yield* generator.generate(request)
          expect(watched.sequences).toEqual(quiet.sequences)
          expect(countsOf(watched)).toEqual(countsOf(quiet))
          for (const [number, { confidence }] of last) {
            const { length } = untilEnd(newOf(quiet.sequences[number]!, number), new Set([eosId]))
            expect(confidence.subarray(0, length).some(Number.isNaN)).toBe(false)
          }

          const ended = yield* generator.generate({
            ...request,
            ending: (_number, settled) => (settled.length >= 2 ? 2 : undefined)
          })
          const isAsked = method === "ar" || method === "bd3lm" || goesInBlocks(decoding)
          for (const [number, ids] of ended.sequences.entries()) {
            const whole = newOf(quiet.sequences[number]!, number)
            const isCut = isAsked && untilEnd(whole, new Set([eosId])).length >= 2
            expect([...newOf(ids, number)]).toEqual(
              isCut ? [...whole.subarray(0, 2), ...Array<number>(newTokens - 2).fill(eosId)] : [...whole]
            )
            expect(ended.tokens[number]).toBe(isCut ? 2 : quiet.tokens[number])
            expect(ended.forwards[number]).toBeLessThanOrEqual(quiet.forwards[number]!)
          }
          if (isAsked) expect(ended.passes).toBeLessThan(quiet.passes)
        })
      ),
    60_000
  )
})
