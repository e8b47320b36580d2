/** Decoding with caches: beside a plain decoder in float64, beside decoding without them where they change nothing, and what passes read. */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import type { Accepting } from "../../src/decoding/accepting.ts"
import { blocksOf, type MaskDecoding } from "../../src/decoding/blockSettings.ts"
import { decodeBlocks } from "../../src/decoding/blocks.ts"
import { textKeys } from "../../src/decoding/draws.ts"
import type { TextPass, TextReader } from "../../src/decoding/textPass.ts"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { allocateParameters, initialise, initialValues } from "../../src/models/parameters.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { makeTextReader, roundUp } from "../../src/sessions/textReader.ts"
import type { RandomKey } from "../../src/tensor/random.ts"
import { startedOnce } from "../engines/startedOnce.ts"
import { keepingOrt } from "../support/keptPrograms.ts"
import { decodeCached } from "../support/plainCached.ts"
import { expertsConfig, hybridConfig, modelConfig } from "../support/tinyModel.ts"

const ort = startedOnce(keepingOrt())
const [eos, mask, pad] = [9, 10, 0]
const base = { temperature: 0, algTemp: 0, schedule: "quota", eps: 1e-3 } as const
const algOf = (rule: keyof Accepting) =>
  rule === "threshold" || rule === "factor" ? ("maskgit_plus" as const) : ("entropy" as const)
const seed = 5

const prompts = [[1, 2, 3, 4, 5], [6, 7], [8, 1, 6], [3, 3, 2, 7, 1, 4, 2], [5]]
const newTokens = 13
const length = 7 + newTokens

/** Decodes the prompts with a reader that tells what it reads. */
const decoded = (
  engine: Engine,
  config: ModelConfig,
  decoding: MaskDecoding,
  rows: number,
  { onHost = false, tokenShift = true }: { readonly onHost?: boolean; readonly tokenShift?: boolean } = {}
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const parameters = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, parameters, seed)
      const { attentionBlockSize: align } = config
      const settings = blocksOf(decoding, { newTokens, steps: newTokens, ...(align === undefined ? {} : { align }) })
      const { blockSize } = settings
      const reader = yield* makeTextReader(engine, config, parameters.views, {
        rows,
        length,
        tokenShift,
        blockSize,
        ...(onHost ? {} : { mask })
      })
      const read = new Map<RandomKey, ReadonlyArray<TextPass>>()
      const keys = textKeys({ seed: 1, prompts })
      const note = (passes: ReadonlyArray<TextPass>): void => {
        for (const pass of passes) {
          const own = read.get(pass.text.key) ?? []
          read.set(pass.text.key, [...own, { ...pass, ids: pass.ids.slice() }])
        }
      }
      const { propose } = reader
      expect(propose === undefined).toBe(onHost)
      const watched: TextReader<EngineError> = {
        ...reader,
        read: passes => {
          note(passes)
          return reader.read(passes)
        },
        ...(propose === undefined
          ? {}
          : {
              propose: (passes, alg) => {
                note(passes)
                return propose(passes, alg)
              }
            })
      }
      const { texts } = yield* decodeBlocks(
        watched,
        prompts.map((ids, i) => ({ ids, newTokens, key: keys[i]! })),
        { rows, mask, ends: new Set([eos]), tokenShift, attentionBlockSize: align, settings }
      )
      return texts.map(({ forwards, revealedAt, tokens }, number) => ({
        forwards,
        revealedAt,
        tokens: [...tokens],
        read: read.get(keys[number]!)!
      }))
    })
  )

const texts = (all: Effect.Success<ReturnType<typeof decoded>>) =>
  all.map(({ forwards, revealedAt, tokens }) => ({ forwards, revealedAt, tokens }))

const models: { readonly [name: string]: (changes?: { readonly [field: string]: unknown }) => ModelConfig } = {
  attention: changes => modelConfig({ attentionBlockSize: changes?.["attention_block_size"] as number }),
  hybrid: hybridConfig,
  "hybrid, both ways": changes => hybridConfig({ hybrid_bidirectional: "two_scan", ...changes }),
  "hybrid, causal": changes => hybridConfig({ hybrid_bidirectional: "none", ...changes }),
  experts: expertsConfig
}
const plain = (name: string): ModelConfig => (name === "attention" ? modelConfig() : models[name]!())

describe("decoding with caches", () => {
  it.live.each(Object.keys(models))("of a model of %s that attends by blocks changes nothing", name =>
    Effect.gen(function* () {
      const engine = yield* ort()
      for (const [size, blockLength, blockAddThreshold, rows] of [
        [2, 4, 1, 4],
        [3, 3, 0.5, 3]
      ] as const) {
        const config = models[name]!({ attention_block_size: size })
        const decoding = { ...base, alg: "maskgit_plus", threshold: 0.3, blockLength, blockAddThreshold } as const
        const cached = yield* decoded(engine, config, decoding, rows)
        const whole = yield* decoded(engine, config, { ...decoding, cache: "none" }, rows)
        expect(texts(cached)).toEqual(texts(whole))
        // What is done is never read again, but for the token before the first block that is not.
        for (const { read } of cached) {
          let kept = 0
          for (const { from, keeps } of read) {
            expect(from).toBe(Math.max(0, kept - 1))
            kept = keeps?.to ?? kept
          }
        }
        expect(cached.flatMap(({ read }) => read).some(({ from }) => from > 0)).toBe(true)
      }
    }).pipe(Effect.scoped)
  )

  it.live.each(Object.keys(models))("of a model of %s that are made anew in every step changes nothing", name =>
    Effect.gen(function* () {
      const engine = yield* ort()
      for (const [cache, blockAddThreshold] of [
        ["prefix", 1],
        ["dual", 0.4]
      ] as const) {
        if (cache === "dual" && name === "hybrid, both ways") continue
        const decoding = { ...base, alg: "entropy", entropyThreshold: 1.2, blockLength: 4, blockAddThreshold } as const
        const anew = yield* decoded(engine, plain(name), { ...decoding, cache, refreshInterval: 1 }, 3)
        expect(texts(anew)).toEqual(texts(yield* decoded(engine, plain(name), decoding, 3)))
      }
    }).pipe(Effect.scoped)
  )

  it.live.each(Object.keys(models))(
    "of a model of %s writes what a plain decoder writes that keeps hidden states, for any delay and refresh",
    name =>
      Effect.gen(function* () {
        const config = plain(name)
        const weights = new Map(parameterSpecs(config).map(spec => [spec.name, initialValues(spec, seed)]))
        const engine = makeReference()
        let parts = 0
        const cases = [
          ["threshold", 0.3, "prefix", 1, Infinity, 1, 1],
          ["threshold", 0.3, "dual", 1, Infinity, 1, 1],
          ["factor", 1.6, "dual", 2, Infinity, 0.5, 1],
          ["entropyThreshold", 1.5, "prefix", 2, 4, 0.25, 0.5],
          ["entropyBound", 1.6, "dual", 1, 5, 0.5, 0.5]
        ] as const
        for (const [rule, limit, cache, delay, refresh, add, far] of name === "attention" ? cases : cases.slice(3)) {
          if (cache === "dual" && name === "hybrid, both ways") continue
          const blocks = {
            blockLength: 4,
            cache,
            cacheDelayIter: delay,
            blockAddThreshold: add,
            decodedTokenThreshold: far
          }
          const decoding: MaskDecoding = {
            ...base,
            ...blocks,
            alg: algOf(rule),
            [rule]: limit,
            ...(refresh === Infinity ? {} : { refreshInterval: refresh })
          }
          const found = yield* decoded(engine, config, decoding, 3)
          for (const [number, prompt] of prompts.entries()) {
            const settings = { blockSize: 4, rule, limit, cache, delay, refresh, add, far, newTokens, mask, eos }
            const expected = decodeCached(config, id => weights.get(id)!, prompt, settings)
            const { read, tokens } = found[number]!
            const passes = read.map(({ keeps }) => (keeps === undefined ? "part" : "whole"))
            expect({ tokens, passes }).toEqual(expected)
            parts += passes.filter(pass => pass === "part").length
          }
        }
        expect(parts).toBeGreaterThan(name === "attention" ? 20 : 3)
      }),
    120_000
  )

  it.live("with one block at a time writes what decoding in blocks writes", () =>
    Effect.gen(function* () {
      const engine = yield* ort()
      const decoding = { ...base, alg: "maskgit_plus", threshold: 0.3, blockLength: 4 } as const
      const one = yield* decoded(
        engine,
        modelConfig(),
        { ...decoding, blockAddThreshold: 1, decodedTokenThreshold: 1 },
        2
      )
      expect(texts(one)).toEqual(texts(yield* decoded(engine, modelConfig(), decoding, 2)))
      // A threshold that nothing reaches reveals a token a pass.
      const slow = yield* decoded(engine, modelConfig(), { ...decoding, threshold: 1, cache: "prefix" }, 2)
      for (const { revealedAt, tokens } of slow) expect(new Set(revealedAt).size).toBe(tokens.length)
    }).pipe(Effect.scoped)
  )

  it.live("reads what predicts each token at its own place, where the model does", () =>
    Effect.gen(function* () {
      const engine = yield* ort()
      const config = modelConfig({ attentionBlockSize: 3 })
      const decoding = { ...base, alg: "maskgit_plus", threshold: 0.3, blockLength: 3 } as const
      const cached = yield* decoded(engine, config, decoding, 2, { tokenShift: false })
      expect(texts(cached)).toEqual(
        texts(yield* decoded(engine, config, { ...decoding, cache: "none" }, 2, { tokenShift: false }))
      )
    }).pipe(Effect.scoped)
  )

  it.live("is the same where tokens are chosen by the model as where the host has all logits", () =>
    Effect.gen(function* () {
      const engine = yield* ort()
      // Even where many logits tie, or nearly do.
      for (const [name, config] of [
        ["apart", modelConfig()],
        ["near", modelConfig({ initializerRange: 1e-4 })],
        ["equal", modelConfig({ initializerRange: 1e-20 })]
      ] as const)
        for (const rule of [
          { alg: "maskgit_plus", threshold: 0.3 },
          { alg: "maskgit_plus", threshold: 0.1 },
          { alg: "entropy", entropyThreshold: 1.5 },
          { alg: "entropy", entropyThreshold: Math.log(10) },
          { alg: "maskgit_plus", factor: 1.6 },
          { alg: "topk_margin" }
        ] as const) {
          const decoding = { ...base, ...rule, blockLength: 4, cache: "prefix", blockAddThreshold: 0.5 } as const
          const [byModel, byHost] = [false, true].map(onHost => decoded(engine, config, decoding, 3, { onHost }))
          expect(texts(yield* byModel!), `${name} ${JSON.stringify(rule)}`).toEqual(texts(yield* byHost!))
        }
    }).pipe(Effect.scoped)
  )

  it.live("is refused where the model cannot be read in parts", () =>
    Effect.gen(function* () {
      const engine = makeReference()
      const config = hybridConfig({ hybrid_bidirectional: "two_scan" })
      const model = {
        config,
        parameters: {},
        tokenShift: true,
        tokenizer: { ends: new Set([eos]), maskId: mask, padId: pad }
      }
      const asked = maskedGenerator(
        engine,
        model,
        { prompts: 1, promptTokens: 4, newTokens: 8 },
        { ...base, alg: "entropy", cache: "dual", blockLength: 4 }
      )
      const exit = yield* Effect.exit(asked)
      expect(String(exit)).toContain("cache dual does not go with hybrid_bidirectional two_scan")
    }).pipe(Effect.scoped)
  )
})

describe("sizes of programs", () => {
  it("have room, waste a third at most beyond two units, and are few", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 64 }), (n, unit) => {
        const size = roundUp(n, unit, 600)
        expect(size).toBeGreaterThanOrEqual(n)
        expect(size).toBeLessThanOrEqual(Math.max(unit, Math.ceil((1.5 * n) / unit) * unit))
      })
    )
    const sizes = new Set(Array.from({ length: 512 }, (_, i) => roundUp(i + 1, 32, 512)))
    expect([...sizes]).toEqual([32, 64, 96, 128, 192, 256, 384, 512])
  })
})
