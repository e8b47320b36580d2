/** What a decoder keeps of the tokens that it has read, so that not each pass reads all of them: the caches of all layers, in an engine's memory and in a pass's program. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import {
  add,
  and,
  constant,
  div,
  gather,
  input,
  iota,
  less,
  lessEqual,
  maximum,
  minimum,
  reshape,
  select,
  sub
} from "../tensor/ops.ts"
import { gatherInRows } from "../tensor/composites.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { goesBothWays, layerOf, type ModelConfig } from "./config.ts"
import type { ForwardOptions } from "./decoder.ts"
import { scoreMask } from "./layers/attention.ts"
import { noDocument } from "./layers/documents.ts"
import type { CacheShape, CacheSpec, LayerCache, StateKeeping } from "./layers/mixer.ts"

/** What each layer keeps; names are the layer's own with its number. */
const layerCaches = (config: ModelConfig, shape: CacheShape): ReadonlyArray<ReadonlyMap<string, CacheSpec>> =>
  config.layers.map(
    (_, layer) =>
      new Map(
        layerOf(config, layer)
          .cache(shape)
          .map(spec => [spec.name, { ...spec, name: `${spec.name}/${layer}` }])
      )
  )

/** Empty caches, by the names under which passes read them. */
export const allocateCache = (
  engine: Engine,
  config: ModelConfig,
  shape: CacheShape
): Effect.Effect<Buffers, EngineError, Scope.Scope> =>
  Effect.map(
    Effect.forEach(
      layerCaches(config, shape).flatMap(caches => [...caches.values()]),
      ({ dtype, name, shape: of }) => Effect.map(engine.allocate(dtype, of), buffer => [name, buffer] as const)
    ),
    Object.fromEntries
  )

/** Which rows of the caches a pass of fewer rows reads and writes. */
export interface RowChoice {
  /** Rows of the caches. */
  readonly of: number
  /** i32 [rows]: of each row of the pass, that of the caches. */
  readonly slots: Tensor
  /** i32 [of]: of each row of the caches, the row of the pass that leaves something there; -1 where none does. */
  readonly sources: Tensor
}

/**
 * What a pass leaves in the caches. `all`: of every token that counts; then nothing may be asked of padding. Otherwise, of tokens from place `from` of a text on and before place `to`, i32 [rows] each;
 * and what sums up the tokens before place `states`, i32 [rows], which is not before the pass's first token, or -1 where the row keeps what it had.
 */
export type Keeping = "all" | { readonly from: Tensor; readonly to: Tensor; readonly states: Tensor }

export interface CachedPass {
  /** Rows of the pass, and tokens of each that the caches have room for. */
  readonly rows: number
  readonly capacity: number
  /** Left out: all of them. */
  readonly choice?: RowChoice
  /** Tokens of a row that the pass reads. */
  readonly length: number
  /** i32 [rows]: the place of the first. What stood before it comes from the caches. */
  readonly start: Tensor
  /** i32 [rows]: of the tokens so many count; padding is behind them. */
  readonly count: Tensor
  /** Whether a token sees those before it alone. Otherwise it sees what the configuration says, before place `until`, i32 [rows]: what the pass does not read itself comes from the caches. */
  readonly sees: "before" | { readonly until: Tensor }
  /** Left out: the caches stay as they are. */
  readonly keeps?: Keeping
}

/** Whether slots i32 [capacity] are from `from` on and before `to`, i32 [rows]: bool [rows, capacity]. */
const between = (slots: Tensor, from: Tensor, to: Tensor): Tensor => {
  const each = (x: Tensor): Tensor => reshape(x, [...x.shape, 1])
  const all = reshape(slots, [1, ...slots.shape])
  return and(lessEqual(each(from), all), less(all, each(to)))
}

/** bool [rows, …] for x [rows, …, …, …]. */
const alongRows = (mask: Tensor, x: Tensor): Tensor =>
  reshape(mask, [...mask.shape, ...x.shape.slice(mask.shape.length).map(() => 1)])

/**
 * A pass over tokens of texts of which caches hold the rest: what `forward` takes for it, and, once that has run, the caches for the next pass, by names that `inPlace` leads back to those that are
 * read.
 */
export const cachedPass = (
  config: ModelConfig,
  { capacity, choice, count, keeps, length, rows, sees, start }: CachedPass
) => {
  const slots = iota("i32", [capacity], 0)
  const ofRow = (x: Tensor): Tensor => reshape(x, [rows, 1])
  const positions = add(iota("i32", [1, length], 1), ofRow(start)) // [rows, length]
  const causal = sees === "before"
  const mask = scoreMask(seenSlots(config, { rows, length, capacity, slots, positions, sees }))
  const end = add(start, count)
  const own = between(slots, start, end)
  const source = maximum(minimum(sub(reshape(slots, [1, capacity]), ofRow(start)), length - 1), 0)

  const outputs: { [name: string]: Tensor } = {}
  const inPlace: { [output: string]: string } = {}
  const caches = layerCaches(config, { capacity, rows: choice?.of ?? rows })
  const cache = (layer: number): LayerCache => {
    const spec = (name: string): CacheSpec => caches[layer]!.get(name)!
    const memory = once(name => input(spec(name).name, spec(name).dtype, spec(name).shape))
    const held = once(name => (choice === undefined ? memory(name) : gather(memory(name), choice.slots)))
    /** Of the pass's rows what is in the caches from now on. */
    const put = (name: string, value: Tensor): void => {
      const written = `${spec(name).name}/next`
      outputs[written] =
        choice === undefined
          ? value
          : select(
              alongRows(lessEqual(constant(0, "i32"), choice.sources), memory(name)),
              gather(value, maximum(choice.sources, 0)),
              memory(name)
            )
      inPlace[written] = spec(name).name
    }
    return {
      // The text before this one may have left something.
      read: name => select(alongRows(lessEqual(start, 0), held(name)), 0, held(name)),
      append: (name, fresh) => {
        const before = held(name)
        const all = select(alongRows(own, before), gatherInRows(fresh, source), before)
        if (keeps === "all") put(name, all)
        else if (keeps !== undefined)
          put(name, select(alongRows(between(slots, keeps.from, keeps.to), before), all, before))
        return all
      },
      ...(keeps === undefined ? {} : { keeps: keepingStates(keeps, { count, start }, { held, put }) })
    }
  }
  // Where some layers go from right to left as well, padding is behind the tokens and must not be seen by them.
  const counted = less(sub(positions, ofRow(start)), ofRow(count))
  const options: ForwardOptions = {
    causal,
    positions,
    mask,
    cache,
    ...(goesBothWays(config, causal) ? { documentsBackwards: select(counted, constant(0, "i32"), noDocument) } : {})
  }
  return { options, outputs, inPlace }
}

/** A function that makes each tensor once. */
const once = (make: (name: string) => Tensor): ((name: string) => Tensor) => {
  const made = new Map<string, Tensor>()
  return name => {
    const found = made.get(name) ?? make(name)
    made.set(name, found)
    return found
  }
}

interface CacheAccess {
  readonly held: (name: string) => Tensor
  readonly put: (name: string, value: Tensor) => void
}

const keepingStates = (
  keeps: Keeping,
  { count, start }: Pick<CachedPass, "count" | "start">,
  { held, put }: CacheAccess
): StateKeeping => {
  if (keeps === "all") return { count, last: true, write: put }
  const kept = lessEqual(constant(0, "i32"), keeps.states)
  return {
    count: sub(keeps.states, start),
    last: false,
    write: (name, value) => put(name, select(alongRows(kept, value), value, held(name)))
  }
}

interface Slots extends Pick<CachedPass, "capacity" | "length" | "rows" | "sees"> {
  readonly slots: Tensor
  readonly positions: Tensor
}

/** Which slots of the caches a token sees, bool [rows, length or 1, capacity]. */
const seenSlots = (
  { attentionBlockSize, hybridBidirectional }: ModelConfig,
  { capacity, length, positions, rows, sees, slots }: Slots
): Tensor => {
  const keys = reshape(slots, [1, 1, capacity])
  const queries = reshape(positions, [rows, length, 1])
  // A slot behind a token's position holds nothing yet, or what an earlier pass left there.
  if (sees === "before" || hybridBidirectional === "none") return lessEqual(keys, queries)
  const there = less(keys, reshape(sees.until, [rows, 1, 1]))
  if (attentionBlockSize === undefined) return there
  const block = (x: Tensor): Tensor => div(x, constant(attentionBlockSize, "i32"))
  return and(lessEqual(block(keys), block(queries)), there)
}
