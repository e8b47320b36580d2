/** Decoders of random weights beside each other, turn by turn in one run: how fast each is, and how near to what the machine allows. */
import { Effect, type Scope } from "effect"
import type { MaskDecoding } from "../../src/decoding/blockSettings.ts"
import type { Engine, EngineError } from "../../src/engines/Engine.ts"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { quantile } from "../../src/evaluation/timing.ts"
import { countParameters, type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { encodeModelConfig } from "../../src/models/families.ts"
import { allocateParameters, initialise } from "../../src/models/parameters.ts"
import type { StageError } from "../../src/pipeline/StageError.ts"
import { causalGenerator } from "../../src/sessions/autoregressive.ts"
import type { GeneratedTexts, Generator } from "../../src/sessions/generator.ts"
import { maskedGenerator } from "../../src/sessions/maskedGenerator.ts"
import { base } from "../models.ts"
import { startPython } from "../python.ts"
import { agreement } from "./agreement.ts"
import { type Model, startFastDllm } from "./fastDllm.ts"
import { bestOf, measurePeaks } from "./peaks.ts"
import { compareTexts } from "./sameTexts.ts"
import { causalPasses, leastMs, maskedPasses, type Pass, workOf } from "./roofline.ts"

/** Tokens of a block, and those that a pass reveals. */
const [block, atOnce] = [32, 4]
/** Tokens of which texts are compared before anything is measured, at most. */
const comparedTokens = 128
const prompt = Array.from({ length: 16 }, (_, k) => 300 + 31 * k)

export const greedy = { temperature: 0, alg: "maskgit_plus", algTemp: 0, schedule: "quota", eps: 1e-3 } as const
const inBlocks = { ...greedy, blockLength: block } as const
/** What Fast-dLLM decodes, too. */
const maskDecoders = {
  plain: greedy,
  blocks: inBlocks,
  "blocks, prefix cache": { ...inBlocks, cache: "prefix" },
  "blocks, dual cache": { ...inBlocks, cache: "dual" }
} as const satisfies { readonly [name: string]: MaskDecoding }

interface Made extends Pick<GeneratedTexts, "forwards"> {
  readonly ms: number
  /** Of the matrix products that were computed, where that is known. */
  readonly flops?: number
  /** Prompt and new tokens. */
  readonly text?: ArrayLike<number>
}

interface Contender {
  readonly name: string
  readonly turn: () => Promise<Made>
  /** What the decoding needs. */
  readonly passes: ReadonlyArray<Pass>
  /** The contender whose text it should write. */
  readonly beside?: string
}

const byTransformers = (config: ModelConfig, { newTokens, threads }: Run) =>
  Effect.gen(function* () {
    const { next, send } = yield* Effect.acquireRelease(
      Effect.sync(() => startPython("decoders/autoregressive.py")),
      ({ end }) => Effect.sync(end)
    )
    send({ config: encodeModelConfig(config), threads, prompt, new_tokens: newTokens })
    const { parameters, torch } = yield* Effect.promise(() =>
      next<{ readonly torch: string; readonly parameters: number }>()
    )
    if (parameters !== countParameters(config))
      throw new Error(`PyTorch's model has ${parameters} parameters, ours ${countParameters(config)}`)
    return {
      name: `token by token, transformers (PyTorch ${torch})`,
      passes: causalPasses(prompt.length, newTokens),
      turn: async () => {
        send("a turn")
        return { ms: await next<number>(), forwards: [newTokens] }
      }
    } satisfies Contender
  })

/** Theirs, once their texts were compared with ours. */
const fastDllmBeside = (engine: Engine, model: Model, checkout: string, { newTokens, threads }: Run) =>
  Effect.gen(function* () {
    const { config, maskId } = model
    const where = { checkout, threads, prompt }
    const compared = yield* compareTexts(engine, config, {
      ...where,
      newTokens: Math.min(comparedTokens, newTokens),
      atOnce,
      maskId,
      decoders: maskDecoders
    })
    return { ...(yield* startFastDllm(engine, model, where)), compared }
  })

export interface Run {
  readonly rounds: number
  readonly threads: number
  readonly newTokens: number
  /** Of Fast-dLLM, whose decoders then take part. The token at a place is then predicted from the state at the place itself, as in LLaDA: theirs know nothing else. */
  readonly checkout: string | undefined
}

/** Throws where texts cannot be cut into blocks. */
export const speeds = (name: string, config: ModelConfig, run: Run) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { checkout, newTokens, rounds, threads } = run
      if (!(newTokens > 0) || newTokens % block !== 0)
        throw new Error(`texts are of whole blocks of ${block} tokens, not of ${newTokens}`)
      const engine = yield* makeOrt({ threads })
      const parameters = yield* allocateParameters(engine, parameterSpecs(config))
      yield* initialise(engine, parameters, 1)
      // No text ends by itself.
      const maskId = base.vocab_size - 1
      const tokenizer = { maskId, padId: 0, ends: new Set<number>() }
      const tokenShift = checkout === undefined
      const model = { config, parameters: parameters.views, tokenShift, tokenizer }
      const shape = { prompts: 1, promptTokens: prompt.length, newTokens }
      const steps = newTokens / atOnce

      const contender = (
        called: string,
        passes: ReadonlyArray<Pass>,
        generator: Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope>
      ): Effect.Effect<Contender, EngineError | StageError, Scope.Scope> =>
        Effect.map(generator, ({ generate }) => ({
          name: called,
          passes,
          turn: async () => {
            const begun = performance.now()
            const { flops, forwards, sequences } = await Effect.runPromise(
              generate({ prompts: [Int32Array.from(prompt)], steps, seed: 1 })
            )
            return { ms: performance.now() - begun, forwards, flops, text: sequences[0]! }
          }
        }))
      const passesOf = (decoding: MaskDecoding, attentionBlockSize?: number) =>
        maskedPasses({ promptTokens: prompt.length, newTokens, steps, tokenShift, decoding, attentionBlockSize })
      const attendingBlocks = { ...model, config: { ...config, attentionBlockSize: block } }
      const contenders: Array<Contender> = yield* Effect.all([
        ...Object.entries(maskDecoders).map(([called, decoding]) =>
          contender(called, passesOf(decoding), maskedGenerator(engine, model, shape, decoding))
        ),
        contender(
          "blocks of attention, cache",
          passesOf(inBlocks, block),
          maskedGenerator(engine, attendingBlocks, shape, inBlocks)
        ),
        contender(
          "token by token",
          causalPasses(prompt.length, newTokens),
          causalGenerator(engine, model, shape, { temperature: 0 })
        )
      ])
      contenders.push(yield* byTransformers(config, run))
      const theirs =
        checkout === undefined
          ? undefined
          : yield* fastDllmBeside(engine, { config, maskId, ...parameters }, checkout, run)
      if (theirs !== undefined)
        for (const [called, { cache, blockLength }] of Object.entries<MaskDecoding>(maskDecoders))
          contenders.push({
            name: `${called}, Fast-dLLM`,
            beside: called,
            passes: contenders.find(each => each.name === called)!.passes,
            turn: async () => {
              const asked = { cache: cache ?? "none", newTokens, blockLength: blockLength ?? newTokens, steps }
              const { ms, passes, tokens } = await theirs.decode(asked)
              return { ms, forwards: [passes], text: tokens }
            }
          })

      const made = new Map<string, Array<Made>>(contenders.map(each => [each.name, []]))
      const peaks = [yield* measurePeaks(engine)]
      // The first turn compiles, and does not count.
      for (let round = 0; round <= rounds; round++) {
        for (const each of contenders) {
          const turn = yield* Effect.promise(each.turn)
          if (round > 0) made.get(each.name)!.push(turn)
        }
        peaks.push(yield* measurePeaks(engine))
      }
      // A decoder may find the machine faster than the products did that were measured between the turns.
      const reached = [...made.values()].flat().map(({ flops = 0, ms }) => flops / (ms / 1000))
      const measured = bestOf(peaks)
      const best = { ...measured, matmul: Math.max(measured.matmul, ...reached) }
      const decoders = contenders.map(each => {
        const turns = made.get(each.name)!
        const ms = quantile(
          turns.map(turn => turn.ms).toSorted((a, b) => a - b),
          0.5
        )
        const [{ flops, forwards, text }] = turns as [Made]
        const passes = forwards[0]!
        if (passes !== each.passes.length)
          throw new Error(`${each.name} took ${passes} passes; what it needs is counted for ${each.passes.length}`)
        const beside = each.beside === undefined ? undefined : made.get(each.beside)![0]!.text
        const least = leastMs(config, each.passes, best)
        const needed = workOf(config, each.passes)
        return {
          model: name,
          parameters: countParameters(config),
          decoder: each.name,
          passes,
          tokensPerForward: newTokens / passes,
          msPerPass: ms / passes,
          tokensPerSecond: (1000 * newTokens) / ms,
          ...(flops === undefined ? {} : { gflop: flops / 1e9, shareOfPeak: flops / (ms / 1000) / best.matmul }),
          needed: { gflop: needed.flops / 1e9, gigabytes: needed.bytes / 1e9, ms: least },
          shareOfRoofline: least / ms,
          ...(beside === undefined ? {} : { agreement: agreement(beside, text!, prompt.length) })
        }
      })
      return {
        peaks: best,
        ...(theirs === undefined
          ? {}
          : { fastDllm: { commit: theirs.commit, torch: theirs.torch, compared: theirs.compared } }),
        decoders
      }
    })
  )

export type Speeds = Effect.Success<ReturnType<typeof speeds>>
