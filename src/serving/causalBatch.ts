/** A causal model that decodes several texts side by side, each as far as it is: the texts' caches are rows of one memory. */
import { Effect, type Scope } from "effect"
import type { TextPass } from "../decoding/textPass.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { append } from "../pipeline/lists.ts"
import { causalReader } from "../sessions/autoregressive.ts"

/** Tokens of a prompt that are read at once: their logits come to the host where a prompt is scored. */
const promptChunk = 32
/** A model that is read token by token draws nothing of its own. */
const nothingDrawn = [0, 0] as const
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

/** The logarithms of the probabilities of a token and of the likeliest ones, by its logits [V], at temperature 1 and without filters. */
export const scoreOf = (logits: Float32Array, token: number, alternatives: number): Scored => {
  let peak = -Infinity
  for (const value of logits) if (value > peak) peak = value
  let total = 0
  for (const value of logits) total += Math.exp(value - peak)
  const logTotal = peak + Math.log(total)
  const best: Array<number> = []
  for (let id = 0; id < logits.length; id++) {
    const least = best[alternatives - 1]
    if (alternatives === 0 || (least !== undefined && !(logits[id]! > logits[least]!))) continue
    const place = best.findIndex(other => logits[id]! > logits[other]!)
    best.splice(place < 0 ? best.length : place, 0, id)
    if (best.length > alternatives) best.pop()
  }
  return {
    logprob: logits[token]! - logTotal,
    alternatives: best.map(id => ({ token: id, logprob: logits[id]! - logTotal }))
  }
}

/** Prepares a model whose parameters lie in buffers for texts of at most `most` tokens each. */
export const makeCausalBatch = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  { most, rows }: { readonly rows: number; readonly most: number }
): Effect.Effect<CausalBatch, EngineError, Scope.Scope> =>
  Effect.map(causalReader(engine, config, parameters, { rows, length: most }), reader => {
    const { vocabSize } = config
    /** The tokens of each row. */
    const ids = Array.from({ length: rows }, () => new Int32Array(most))
    const pass = (row: number, from: number, to: number, places: ReadonlyArray<number>): TextPass => ({
      row,
      text: { key: nothingDrawn, pass: from },
      ids: ids[row]!,
      from,
      to,
      until: to,
      keeps: { from, to, states: to },
      places
    })
    const rowsOf = (logits: Float32Array): ReadonlyArray<Float32Array> =>
      Array.from({ length: logits.length / vocabSize }, (_, i) => logits.subarray(i * vocabSize, (i + 1) * vocabSize))
    return {
      rows,
      capacity: most,
      read: (slot, prompt, { scored }) =>
        Effect.gen(function* () {
          ids[slot]!.set(prompt)
          const scores: Array<Scored> = []
          let next: Float32Array = new Float32Array()
          for (let from = 0; from < prompt.length; from += promptChunk) {
            const to = Math.min(prompt.length, from + promptChunk)
            // What stands behind each token, or behind the last alone.
            const places = scored ? Array.from({ length: to - from }, (_, i) => from + i + 1) : [to]
            const found = rowsOf(yield* reader.read([pass(slot, from, to, places)]))
            next = found.at(-1)!
            if (scored)
              append(
                scores,
                found
                  .slice(0, prompt.length - 1 - from)
                  .map((row, i) => scoreOf(row, prompt[from + i + 1]!, mostAlternatives))
              )
          }
          return { next, scores }
        }),
      step: tokens =>
        Effect.suspend(() => {
          for (const { position, slot, token } of tokens) ids[slot]![position] = token
          const passes = tokens.map(({ position, slot }) => pass(slot, position, position + 1, [position + 1]))
          return Effect.map(reader.read(passes), rowsOf)
        })
    } satisfies CausalBatch as CausalBatch
  })
