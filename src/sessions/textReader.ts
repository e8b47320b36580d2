/** A model on an engine that reads texts: all of each, or parts, with caches of what it read of the rest. */
import { Effect, Scope } from "effect"
import type { TextPass, TextReader } from "../decoding/textPass.ts"
import type { Algorithm } from "../decoding/diffusion.ts"
import type { Buffer, Buffers, Engine, EngineError } from "../engines/Engine.ts"
import { allocateCache, cachedPass } from "../models/cache.ts"
import type { ModelConfig } from "../models/config.ts"
import { forward, type ForwardOptions, logits, weightsOf } from "../models/decoder.ts"
import { add, argmax, cast, concat, constant, gather, input, iota, less, reshape, select } from "../tensor/ops.ts"
import { confidenceIn, never, probabilityIn } from "./confidence.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { inputsOf, makeSession } from "./session.ts"
import { rowsOf } from "./sizes.ts"

export interface TextReaderOptions {
  /** Texts that have a row in the caches, and tokens of each, at most. */
  readonly rows: number
  readonly length: number
  readonly tokenShift: boolean
  /** Tokens of a block: programs are made for some numbers of them. */
  readonly blockSize: number
  /** Whether a token sees those before it alone. Default false. */
  readonly causal?: boolean
  /** The token that is never proposed. Left out, tokens are chosen on the host. */
  readonly mask?: number
}

export interface EngineReader extends TextReader<EngineError> {
  /** Floating-point operations of the matrix products of all that was read so far. */
  readonly flops: () => number
}

/** The size of a program: texts that are read together, tokens of each that are read, and of these that are asked for. */
interface ProgramShape {
  readonly rows: number
  readonly length: number
  readonly places: number
  /** Whether all of each text is read, so that there is nothing in a cache to be seen; whether any is shorter than the program has room for; whether anything is kept. */
  readonly whole: boolean
  readonly padded: boolean
  readonly keeps: "none" | "some" | "all"
  /** By which measure tokens are proposed. Left out: logits come to the host. */
  readonly alg?: Algorithm
  /** Whether with their probabilities. */
  readonly watched?: boolean
}

/** The least of 1, 2, 3, 4, 6, 8, 12, … units that is not below n, at most `most`: a third more than is needed, and few programs. */
export const roundUp = (n: number, unit: number, most: number): number => {
  if (n === 0) return 0
  let power = 1
  while (2 * power * unit <= n) power *= 2
  const found = [power, (3 * power) / 2, 2 * power].filter(Number.isInteger).find(count => count * unit >= n)!
  return Math.min(found * unit, most)
}

const tracePass = (config: ModelConfig, parameters: Buffers, shape: ProgramShape, caches: TextReaderOptions) => {
  const { length, places, rows } = shape
  const pass = isAlone(shape) ? wholePass(shape, caches) : partialPass(config, shape, caches)
  const weights = weightsOf(config, inputsOf(parameters))
  const { final } = forward(config, weights, input("ids", "i32", [rows, length]), pass.options)
  const asked = gather(reshape(final, [rows * length, config.hiddenSize]), input("columns", "i32", [rows * places]))
  const found = logits(asked, weights) // [rows * places, V]
  const proposed =
    shape.alg === undefined
      ? {}
      : { proposals: proposalsOf(found, shape.alg, { mask: caches.mask!, watched: shape.watched === true }) }
  const outputs: { readonly [name: string]: Tensor } = { logits: found, ...proposed, ...pass.outputs }
  return { outputs, inPlace: pass.inPlace }
}

/** Of logits [N, V] the likeliest tokens without the mask, their scores and tolerances: f32 [3, N]; with their probabilities where they are watched, [4, N]. */
const proposalsOf = (
  found: Tensor,
  alg: Algorithm,
  { mask, watched }: { readonly mask: number; readonly watched: boolean }
): Tensor => {
  const [n, vocabSize] = found.shape as [number, number]
  const forbidden = constant(new Float32Array(vocabSize).fill(never, mask, mask + 1), "f32", [vocabSize])
  const drawable = add(found, forbidden)
  const tokens = cast(argmax(drawable, 1), "i32")
  const { score, tolerance } = confidenceIn(drawable, tokens, alg)
  return concat(
    [cast(tokens, "f32"), score, tolerance, ...(watched ? [probabilityIn(drawable, tokens)] : [])].map(x =>
      reshape(x, [1, n])
    ),
    0
  )
}

/** Whether a pass has nothing to do with caches. */
const isAlone = ({ keeps, whole }: ProgramShape): boolean => whole && keeps === "none"

interface Traced {
  readonly options: ForwardOptions
  readonly outputs: { readonly [name: string]: Tensor }
  readonly inPlace: { readonly [output: string]: string }
}

/** Without caches. Nothing is masked where no text is shorter than another, which attention has faster ways for. */
const wholePass = ({ length, padded, rows }: ProgramShape, { causal = false }: TextReaderOptions): Traced => {
  const counted = (): Tensor => less(iota("i32", [rows, length], 1), reshape(input("count", "i32", [rows]), [rows, 1]))
  return {
    options: { causal, ...(padded ? { segmentIds: select(counted(), constant(0, "i32"), -1) } : {}) },
    outputs: {},
    inPlace: {}
  }
}

const partialPass = (config: ModelConfig, { keeps, length, rows }: ProgramShape, caches: TextReaderOptions): Traced => {
  const ofRows = (name: string) => input(name, "i32", [rows])
  return cachedPass(config, {
    rows,
    length,
    capacity: caches.length,
    start: ofRows("start"),
    count: ofRows("count"),
    sees: caches.causal === true ? "before" : { until: ofRows("until") },
    ...(rows === caches.rows
      ? {}
      : { choice: { of: caches.rows, slots: ofRows("slots"), sources: input("sources", "i32", [caches.rows]) } }),
    ...(keeps === "none"
      ? {}
      : {
          keeps:
            keeps === "all" ? keeps : { from: ofRows("keepFrom"), to: ofRows("keepTo"), states: ofRows("keepStates") }
        })
  })
}

/** Prepares a model whose parameters lie in buffers. Programs are made when they are first needed. */
export const makeTextReader = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  options: TextReaderOptions
): Effect.Effect<EngineReader, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { blockSize, length: capacity, rows: all, tokenShift } = options
    const scope = yield* Effect.scope
    /** With the caches, from the first pass that asks for one on. */
    const held = yield* Effect.cached(
      Effect.map(
        Effect.provideService(allocateCache(engine, config, { rows: all, capacity }), Scope.Scope, scope),
        caches => ({ ...parameters, ...caches })
      )
    )
    const shift = tokenShift ? 1 : 0
    let flops = 0

    const prepare = (shape: ProgramShape) =>
      Effect.gen(function* () {
        const { inPlace, outputs } = tracePass(config, parameters, shape, options)
        const given = isAlone(shape) ? parameters : yield* held
        return { shape, session: yield* makeSession(engine, outputs, given, inPlace) }
      })
    const made = new Map<string, Effect.Success<ReturnType<typeof prepare>>>()
    const programOf = (shape: ProgramShape) =>
      Effect.gen(function* () {
        const name = JSON.stringify(shape)
        const found = made.get(name) ?? (yield* Effect.provideService(prepare(shape), Scope.Scope, scope))
        made.set(name, found)
        return found
      })

    /** Sizes that the program of a pass has. */
    const sizesOf = ({ from, ids, keeps, places, to, until }: TextPass) => {
      const whole = from === 0 && to === ids.length && to === until
      const length = whole ? capacity : Math.min(capacity, roundUp(to - from - shift, blockSize, capacity) + shift)
      const kept =
        keeps === undefined ? "none" : keeps.from === from && Math.min(keeps.to, keeps.states) === to ? "all" : "some"
      return {
        length,
        places: places.length === 1 ? 1 : roundUp(places.length, blockSize, length),
        whole,
        keeps: kept
      } as const
    }

    /** Computes passes of one size. `firstOf`: where the answers about the places of each begin. */
    const compute = (passes: ReadonlyArray<TextPass>, choosing: Pick<ProgramShape, "alg" | "watched">) =>
      Effect.gen(function* () {
        const rows = rowsOf(passes.length, all)
        const padded = passes.length < rows || passes.some(({ ids }) => ids.length < capacity)
        const { session, shape } = yield* programOf({ ...sizesOf(passes[0]!), ...choosing, rows, padded })
        const { length, places } = shape
        const zeros = (n: number) => new Int32Array(n)
        const data = {
          ids: zeros(rows * length),
          // A row that reads nothing keeps what it has, as if it went on there.
          start: zeros(rows).fill(1),
          count: zeros(rows),
          until: zeros(rows),
          keepFrom: zeros(rows),
          keepTo: zeros(rows),
          keepStates: zeros(rows).fill(-1),
          slots: zeros(rows),
          sources: zeros(all).fill(-1),
          columns: zeros(rows * places)
        }
        /** Which row of the program reads a text: its own, where there are as many as texts. */
        const rowOf = (pass: TextPass, i: number): number => (rows === all ? pass.row : i)
        for (const [i, pass] of passes.entries()) {
          const { from, ids, keeps, to, until } = pass
          const row = rowOf(pass, i)
          data.ids.set(ids.subarray(from, to), row * length)
          data.start[row] = from
          data.count[row] = to - from
          data.until[row] = until
          data.slots[row] = pass.row
          data.sources[pass.row] = row
          if (keeps !== undefined) {
            data.keepFrom[row] = keeps.from
            data.keepTo[row] = keeps.to
            data.keepStates[row] = keeps.states
          }
          for (const [p, place] of pass.places.entries())
            data.columns[row * places + p] = row * length + place - shift - from
        }
        yield* session.upload(data)
        yield* session.compute()
        flops += session.flops
        return { memory: session.memory, firstOf: passes.map((pass, i) => rowOf(pass, i) * places) }
      })
    const download = (buffer: Buffer) => Effect.map(engine.download(buffer), values => values as Float32Array)
    const { vocabSize } = config

    /** Passes by the size of their program, and what is found of each, in the order that they were given. */
    const inGroups = <A>(
      passes: ReadonlyArray<TextPass>,
      each: (group: ReadonlyArray<TextPass>) => Effect.Effect<ReadonlyArray<A>, EngineError>
    ) =>
      Effect.gen(function* () {
        const found = new Map<TextPass, A>()
        for (const group of Map.groupBy(passes, pass => JSON.stringify(sizesOf(pass))).values())
          for (const [i, own] of (yield* each(group)).entries()) found.set(group[i]!, own)
        return passes.map(pass => found.get(pass)!)
      })

    const propose: NonNullable<EngineReader["propose"]> = (passes, alg, watched = false) =>
      Effect.gen(function* () {
        const each = yield* inGroups(passes, group =>
          Effect.gen(function* () {
            const { firstOf, memory } = yield* compute(group, { alg, ...(watched ? { watched } : {}) })
            const all = yield* download(memory["proposals"]!)
            const n = all.length / (watched ? 4 : 3)
            return group.map(({ places }, p) =>
              places.map((_, i) => {
                const at = firstOf[p]! + i
                const [token, score, tolerance] = [all[at]!, all[n + at]!, all[2 * n + at]!]
                const confidence = watched ? { confidence: all[3 * n + at]! } : {}
                return { token, score, tolerance, ...confidence, logits: memory["logits"]!, at }
              })
            )
          })
        )
        const found = each.flat()
        return {
          found,
          logitsOf: i =>
            Effect.gen(function* () {
              const { at, logits: all } = found[i]!
              return yield* download(yield* engine.view(all, at * vocabSize, [vocabSize]))
            })
        }
      })

    return {
      vocabSize,
      length: capacity,
      flops: () => flops,
      read: passes =>
        Effect.gen(function* () {
          const each = yield* inGroups(passes, group =>
            Effect.gen(function* () {
              const { firstOf, memory } = yield* compute(group, {})
              const all = yield* download(memory["logits"]!)
              return group.map(({ places }, p) =>
                all.subarray(firstOf[p]! * vocabSize, (firstOf[p]! + places.length) * vocabSize)
              )
            })
          )
          const answer = new Float32Array(each.reduce((sum, { length }) => sum + length, 0))
          let at = 0
          for (const own of each) {
            answer.set(own, at)
            at += own.length
          }
          return answer
        }),
      ...(options.mask === undefined ? {} : { propose })
    }
  })
