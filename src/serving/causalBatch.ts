/**
 * A causal model that decodes several texts side by side, each as far as it is: the texts' caches are rows of one memory. A prompt is read into its row alone, while the other rows wait; then all rows
 * take a token in one pass, at a place of their own.
 */
import { Effect, Scope } from "effect"
import type { Buffer, Buffers, Call, Engine, EngineError } from "../engines/Engine.ts"
import { allocateCache, cachedPass } from "../models/cache.ts"
import { layerOf, type ModelConfig } from "../models/config.ts"
import { forward, type ForwardOptions, logits, weightsOf } from "../models/decoder.ts"
import { scoreMask } from "../models/layers/attention.ts"
import type { LayerCache } from "../models/layers/mixer.ts"
import { inputsOf } from "../sessions/session.ts"
import { logSumExp, softmaxCrossEntropy } from "../tensor/composites.ts"
import type { HostArray } from "../tensor/dtype.ts"
import {
  add,
  cast,
  constant,
  equal,
  gather,
  input,
  iota,
  lessEqual,
  maximum,
  reshape,
  select,
  sub,
  topK
} from "../tensor/ops.ts"
import { makeProgram, type Program } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"

/** Tokens of a prompt that are read at once. */
const promptChunk = 32
/** Likeliest tokens that are told of a place, at most: as many as the API may be asked for. */
export const mostAlternatives = 20

/** What the model thought of a token of a prompt, in nats. */
export interface Scored {
  readonly logprob: number
  /** The likeliest tokens of the place, falling. */
  readonly alternatives: ReadonlyArray<{ readonly token: number; readonly logprob: number }>
}

export interface ReadPrompt {
  /** Logits [V] of the token behind the prompt. */
  readonly next: Float32Array
  /** Of every token but the first; empty where it was not asked for. */
  readonly scores: ReadonlyArray<Scored>
}

/** The last token of a row's text, and its position. */
export interface RowToken {
  readonly slot: number
  readonly token: number
  readonly position: number
}

export interface CausalBatch {
  readonly rows: number
  /** Tokens that a row has room for. */
  readonly capacity: number
  /** Reads a prompt of at least one token into a row, over whatever was there. */
  readonly read: (
    slot: number,
    prompt: Int32Array,
    options: { readonly scored: boolean }
  ) => Effect.Effect<ReadPrompt, EngineError>
  /** One pass: logits [V] of what comes behind each token. Rows that are not named stay as they are. */
  readonly step: (tokens: ReadonlyArray<RowToken>) => Effect.Effect<ReadonlyArray<Float32Array>, EngineError>
}

interface Traced {
  readonly outputs: { readonly [name: string]: Tensor }
  readonly inPlace: { readonly [output: string]: string }
}

/** Reads a chunk of one row. Inputs: tokens i32 [1, chunk], start i32 [], last i32 [], and `targets` i32 [chunk] where it scores. */
const tracePrompt = (config: ModelConfig, parameters: Buffers, capacity: number, scored: boolean): Traced => {
  const weights = weightsOf(config, inputsOf(parameters))
  const last = reshape(input("last", "i32", []), [1])
  const { inPlace, options, outputs } = cachedPass(config, {
    rows: 1,
    capacity,
    length: promptChunk,
    start: input("start", "i32", []),
    count: add(last, 1)
  })
  const { final } = forward(config, weights, input("tokens", "i32", [1, promptChunk]), options)
  const hidden = reshape(final, [promptChunk, config.hiddenSize])
  const next = { next: reshape(logits(gather(hidden, last), weights), [config.vocabSize]) }
  if (!scored) return { outputs: { ...next, ...outputs }, inPlace }
  const all = logits(hidden, weights) // [chunk, V]
  const { indices, values } = topK(all, Math.min(mostAlternatives, config.vocabSize))
  return {
    outputs: {
      ...next,
      losses: softmaxCrossEntropy(all, input("targets", "i32", [promptChunk])), // [chunk]
      likeliest: cast(indices, "f32"), // [chunk, k]
      logprobs: sub(values, reshape(logSumExp(all), [promptChunk, 1])),
      ...outputs
    },
    inPlace
  }
}

/** Reads a token of each of the first `rows` rows. Inputs: tokens i32 [rows, 1], positions i32 [rows], -1 where a row takes none. */
const traceStep = (config: ModelConfig, parameters: Buffers, capacity: number, rows: number): Traced => {
  const weights = weightsOf(config, inputsOf(parameters))
  const at = input("positions", "i32", [rows])
  const place = maximum(at, 0)
  const outputs: { [name: string]: Tensor } = {}
  const inPlace: { [output: string]: string } = {}
  const count = constant(Int32Array.of(1), "i32", [1])
  const takes = lessEqual(constant(0, "i32"), at)
  const cache = (layer: number): LayerCache => {
    const specs = layerOf(config, layer).cache({ rows, capacity })
    const held = inputsOf(Object.fromEntries(specs.map(spec => [`${spec.name}/${layer}`, spec])))
    const write = (name: string, value: Tensor): void => {
      outputs[`${name}/${layer}/next`] = value
      inPlace[`${name}/${layer}/next`] = `${name}/${layer}`
    }
    return {
      count,
      read: name => held(`${name}/${layer}`),
      write: (name, value) => {
        const before = held(`${name}/${layer}`)
        write(name, select(reshape(takes, [rows, ...before.shape.slice(1).map(() => 1)]), value, before))
      },
      append: (name, fresh) => {
        const before = held(`${name}/${layer}`)
        const here = equal(iota("i32", [1, capacity], 1), reshape(at, [rows, 1])) // [rows, capacity]
        const all = select(reshape(here, [rows, capacity, ...before.shape.slice(2).map(() => 1)]), fresh, before)
        write(name, all)
        return all
      }
    }
  }
  const positions = reshape(place, [rows, 1])
  const seen = lessEqual(iota("i32", [1, capacity], 1), positions) // [rows, capacity]
  const options: ForwardOptions = {
    causal: true,
    positions,
    mask: scoreMask(reshape(seen, [rows, 1, capacity])),
    cache
  }
  const { final } = forward(config, weights, input("tokens", "i32", [rows, 1]), options)
  const found = logits(reshape(final, [rows, config.hiddenSize]), weights)
  return { outputs: { logits: found, ...outputs }, inPlace }
}

/** A program whose caches are bound again and again: the data and the results are its own. */
interface Prepared {
  /** Uploads the data, runs it on some caches, and downloads what is no cache. */
  readonly run: (caches: Buffers, data: { readonly [name: string]: HostArray }) => Effect.Effect<Results, EngineError>
}
type Results = { readonly [name: string]: Float32Array }

/** Prepares a model whose parameters lie in buffers for texts of at most `most` tokens each. */
export const makeCausalBatch = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { most, rows }: { readonly rows: number; readonly most: number }
): Effect.Effect<CausalBatch, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const capacity = Math.ceil(most / promptChunk) * promptChunk
    const caches = yield* allocateCache(engine, config, { rows, capacity })

    /** The caches of some rows. */
    const rowsOf = (first: number, count: number): Effect.Effect<Buffers, EngineError> =>
      Effect.map(
        Effect.forEach(Object.entries(caches), ([name, buffer]) => {
          const [, ...each] = buffer.shape
          const size = each.reduce((product, n) => product * n, 1)
          return Effect.map(engine.view(buffer, first * size, [count, ...each]), view => [name, view] as const)
        }),
        Object.fromEntries
      )

    const prepare = ({ inPlace, outputs }: Traced): Effect.Effect<Prepared, EngineError> =>
      Scope.provide(scope)(
        Effect.gen(function* () {
          const program: Program = makeProgram(outputs)
          const executable = yield* engine.compile(program, { inPlace })
          const data: { [name: string]: Buffer } = {}
          const results: { [name: string]: Buffer } = {}
          for (const { name, value } of program.inputs)
            if (parameters[name] === undefined && caches[name] === undefined)
              data[name] = yield* engine.allocate(program.values[value]!.dtype, program.values[value]!.shape)
          for (const { name, value } of program.outputs)
            if (inPlace[name] === undefined)
              results[name] = yield* engine.allocate(program.values[value]!.dtype, program.values[value]!.shape)
          const calls = new Map<Buffers, Call>()
          const callOn = (own: Buffers): Effect.Effect<Call, EngineError> =>
            Effect.suspend(() => {
              const known = calls.get(own)
              if (known !== undefined) return Effect.succeed(known)
              const named = (name: string): Buffer => parameters[name] ?? own[name] ?? data[name]!
              const inputs = Object.fromEntries(program.inputs.map(({ name }) => [name, named(name)]))
              const written = Object.fromEntries(
                program.outputs.map(({ name }) => [name, results[name] ?? own[inPlace[name]!]!])
              )
              return Effect.tap(Scope.provide(scope)(engine.bind(executable, inputs, written)), call =>
                Effect.sync(() => void calls.set(own, call))
              )
            })
          return {
            run: (own, given) =>
              Effect.gen(function* () {
                const call = yield* callOn(own)
                for (const [name, buffer] of Object.entries(data)) yield* engine.upload(buffer, given[name]!)
                yield* engine.run([call])
                const found: { [name: string]: Float32Array } = {}
                for (const [name, buffer] of Object.entries(results))
                  found[name] = (yield* engine.download(buffer)) as Float32Array
                return found
              })
          }
        })
      )

    const promptPrograms = {
      plain: yield* Effect.cached(prepare(tracePrompt(config, parameters, capacity, false))),
      scored: yield* Effect.cached(Effect.suspend(() => prepare(tracePrompt(config, parameters, capacity, true))))
    }
    const slotCaches = yield* Effect.forEach(Array.from({ length: rows }).keys(), slot => rowsOf(slot, 1))
    /** Of as many rows as a power of two, or all: few texts take a small pass. */
    const steps = new Map<number, Effect.Effect<{ readonly program: Prepared; readonly own: Buffers }, EngineError>>()
    const stepOf = (count: number) =>
      Effect.gen(function* () {
        let size = 1
        while (size < count) size *= 2
        size = Math.min(size, rows)
        const known = steps.get(size)
        if (known !== undefined) return { size, ...(yield* known) }
        const made = yield* Effect.cached(
          Effect.gen(function* () {
            const program = yield* prepare(traceStep(config, parameters, capacity, size))
            return { program, own: yield* rowsOf(0, size) }
          })
        )
        steps.set(size, made)
        return { size, ...(yield* made) }
      })

    const { vocabSize } = config
    return {
      rows,
      capacity,
      read: (slot, prompt, { scored }) =>
        Effect.gen(function* () {
          const program = yield* promptPrograms[scored ? "scored" : "plain"]
          const scores: Array<Scored> = []
          let next: Float32Array = new Float32Array()
          for (let from = 0; from < prompt.length; from += promptChunk) {
            const part = prompt.subarray(from, from + promptChunk)
            const tokens = new Int32Array(promptChunk)
            tokens.set(part)
            const targets = new Int32Array(promptChunk)
            targets.set(prompt.subarray(from + 1, from + 1 + promptChunk))
            const data = { tokens, targets, start: Int32Array.of(from), last: Int32Array.of(part.length - 1) }
            const found = yield* program.run(slotCaches[slot]!, data)
            next = found["next"]!
            if (!scored) continue
            const { likeliest, logprobs, losses } = found as {
              readonly [name in "likeliest" | "logprobs" | "losses"]: Float32Array
            }
            const k = likeliest.length / promptChunk
            for (let i = 0; i < part.length && from + i + 1 < prompt.length; i++)
              scores.push({
                logprob: -losses[i]!,
                alternatives: Array.from({ length: k }, (_, j) => ({
                  token: likeliest[i * k + j]!,
                  logprob: logprobs[i * k + j]!
                }))
              })
          }
          return { next, scores }
        }),
      step: tokens =>
        Effect.gen(function* () {
          const { own, program, size } = yield* stepOf(1 + Math.max(...tokens.map(({ slot }) => slot)))
          const ids = new Int32Array(size)
          const positions = new Int32Array(size).fill(-1)
          for (const { position, slot, token } of tokens) {
            ids[slot] = token
            positions[slot] = position
          }
          const found = (yield* program.run(own, { tokens: ids, positions }))["logits"]!
          return tokens.map(({ slot }) => found.subarray(slot * vocabSize, (slot + 1) * vocabSize))
        })
    } satisfies CausalBatch as CausalBatch
  })
