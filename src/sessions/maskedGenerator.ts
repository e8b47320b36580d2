/** Decodes by masked diffusion: block by block or whole texts, where the model computes or on the host, with what a method adds. */
import { Effect, type Scope } from "effect"
import { BlockRow } from "../decoding/blockRow.ts"
import { blocksOf, goesInBlocks, type MaskDecoding } from "../decoding/blockSettings.ts"
import type { CanvasShape } from "../decoding/canvas.ts"
import { type Denoiser, stepsThatCount } from "../decoding/diffusion.ts"
import { type MaskText, maskStep } from "../decoding/maskStep.ts"
import { OpenBatch, type Spent, type WrittenText } from "../decoding/openBatch.ts"
import { misfit, wholeReader } from "../decoding/textPass.ts"
import { WholeText } from "../decoding/whole.ts"
import type { Engine, EngineError } from "../engines/Engine.ts"
import { goesBothWays, type ModelConfig } from "../models/config.ts"
import { trainingFlops } from "../models/flops.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import {
  blockRows,
  type DecodedModel,
  type Generator,
  generatorOf,
  type GeneratorShape,
  type OpenOptions,
  rowsThatFit,
  type WantedText
} from "./generator.ts"
import { type DenoiserExtension, makeDenoiser } from "./query.ts"
import { isResident, makeResidentStep } from "./resident.ts"
import { bySize } from "./sizes.ts"
import { makeTextReader } from "./textReader.ts"

/** Texts that have come to a batch, no more than it has rows. */
export interface Newcomers {
  readonly texts: ReadonlyArray<Pick<MaskText, "ids" | "key">>
  readonly reuse: boolean
}

/** What a method adds to decoding by masked diffusion. */
export interface Extended {
  readonly extension: DenoiserExtension
  /** Called before the first pass of texts; returns what it took, `passes` of each. Left out where nothing is to be done. */
  readonly begin?: (texts: Newcomers) => Effect.Effect<Spent & { readonly flops: number }, EngineError>
  /** Operations that it adds to a forward pass. */
  readonly flops: number
}

/** What a method adds, for canvases of some number of rows. */
type Extend = (canvas: CanvasShape) => Effect.Effect<Extended, EngineError, Scope.Scope>

/** Why a model cannot be read with the cache that a decoding asks for. `extended`: whether a method adds to every pass. */
export const cacheFault = (
  config: ModelConfig,
  { cache = "none" }: Pick<MaskDecoding, "cache">,
  extended: boolean
): string | undefined => {
  if (cache === "none") return undefined
  if (extended) return `cache ${cache} does not go with a method that puts anything beside the language model`
  return cache === "dual" && goesBothWays(config, false)
    ? "cache dual does not go with hybrid_bidirectional two_scan: layers from right to left begin at the text's end; set cache to prefix"
    : undefined
}

type Batch = OpenBatch<WrittenText, EngineError>

export const maskedGenerator = (
  engine: Engine,
  { config, parameters, tokenShift, tokenizer }: DecodedModel,
  shape: GeneratorShape,
  decoding: MaskDecoding,
  extend?: Extend
): Effect.Effect<Generator<EngineError>, EngineError | StageError, Scope.Scope> =>
  Effect.gen(function* () {
    const { newTokens, promptTokens } = shape
    const fault = cacheFault(config, decoding, extend !== undefined)
    if (fault !== undefined) return yield* permanent(fault, "leave the cache out")
    const inBlocks = goesInBlocks(decoding)
    const rows = Math.min(rowsThatFit(config.vocabSize, shape), inBlocks ? blockRows : Infinity)
    const canvas = { rows, length: promptTokens + newTokens, newTokens }
    const { ends, maskId: mask, padId: pad } = tokenizer
    const { attentionBlockSize: align } = config
    let flops = 0

    // Forward is a third of forward and backward.
    const flopsOf = (texts: number): number =>
      trainingFlops(config, Array<number>(texts).fill(canvas.length), { causal: false }) / 3

    const extended = (extend: Extend) =>
      Effect.gen(function* () {
        const sized = yield* bySize(rows, size =>
          Effect.gen(function* () {
            const own = yield* extend({ ...canvas, rows: size })
            const places = size * newTokens
            const options = { ...canvas, rows: size, places, tokenShift, extension: own.extension }
            return { own, denoiser: yield* makeDenoiser(engine, config, parameters, options), size }
          })
        )
        const denoiser: Denoiser<EngineError> = {
          vocabSize: config.vocabSize,
          length: canvas.length,
          logits: (ids, pads, ...asked) =>
            Effect.flatMap(sized(pads.length), ({ denoiser: own, own: { flops: added }, size }) => {
              flops += flopsOf(size) + added
              return own.logits(ids, pads, ...asked)
            })
        }
        const advance = maskStep(wholeReader(denoiser, pad))
        return ({ reuse = false }: OpenOptions) => {
          const known = new WeakSet<MaskText>()
          return new OpenBatch<MaskText, EngineError>(rows, open =>
            Effect.gen(function* () {
              const texts = open.map(({ text }) => text).filter(text => !known.has(text))
              if (texts.length === 0) return yield* advance(open)
              const { begin: beginning } = (yield* sized(texts.length)).own
              for (const text of texts) known.add(text)
              if (beginning === undefined) return yield* advance(open)
              const begun = yield* beginning({ texts, reuse })
              flops += begun.flops
              for (const text of texts) text.passesBeside = begun.passes
              const found = yield* advance(open)
              return { ...found, passes: begun.passes + found.passes, forwardMs: begun.forwardMs + found.forwardMs }
            })
          )
        }
      })

    const plain = Effect.gen(function* () {
      if (isResident(decoding) && shape.joined !== true) {
        const options = { ...canvas, mask, pad, tokenShift, decoding }
        const resident = yield* makeResidentStep(engine, config, parameters, options)
        return (asked: OpenOptions): Batch => {
          const advance = resident(asked)
          return new OpenBatch<WholeText, EngineError>(rows, open =>
            Effect.tap(advance(open), ({ passes }) => Effect.sync(() => void (flops += passes * flopsOf(rows))))
          )
        }
      }
      const reader = yield* makeTextReader(engine, config, parameters, {
        rows,
        length: canvas.length,
        mask,
        tokenShift,
        blockSize: Math.min(decoding.blockLength ?? newTokens, newTokens)
      })
      const step = maskStep(reader)
      return (): Batch =>
        new OpenBatch<MaskText, EngineError>(rows, open => {
          const before = reader.flops()
          return Effect.tap(step(open), () => Effect.sync(() => void (flops += reader.flops() - before)))
        })
    })

    const begin = (
      { ending, key, prompt, steps, threshold }: WantedText,
      { watched = false }: OpenOptions
    ): MaskText => {
      const unfit = misfit(canvas, [{ ids: prompt, newTokens }])
      if (unfit !== undefined) throw unfit
      if (threshold !== undefined && !inBlocks) throw new TypeError("a threshold goes with decoding block by block")
      if (!inBlocks)
        return new WholeText(
          { prefix: prompt, suffix: [], tokens: newTokens, key },
          { ...decoding, steps },
          mask,
          watched
        )
      const settings = blocksOf(threshold === undefined ? decoding : { ...decoding, threshold }, {
        newTokens,
        steps,
        ...(align === undefined ? {} : { align })
      })
      const options = { mask, ends, tokenShift, attentionBlockSize: align, settings, watched }
      return new BlockRow({ ids: prompt, newTokens, key, ending }, options)
    }

    const batchOf = extend === undefined ? yield* plain : yield* extended(extend)
    return generatorOf({
      newTokens,
      stepsThatCount: steps => stepsThatCount({ ...decoding, steps }, newTokens),
      flops: () => flops,
      open: (options = {}) => ({ batch: batchOf(options), begin: wanted => begin(wanted, options) })
    })
  })
