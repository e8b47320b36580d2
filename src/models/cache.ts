/** What a decoder keeps of the tokens that it has read, so that each is read once: the caches of all layers, in an engine's memory and in a pass's program. */
import { Effect, type Scope } from "effect"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import {
  add,
  and,
  constant,
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
import type { Tensor } from "../tensor/Tensor.ts"
import { layerOf, type ModelConfig } from "./config.ts"
import type { ForwardOptions } from "./decoder.ts"
import { scoreMask } from "./layers/attention.ts"
import type { CacheShape, CacheSpec, LayerCache } from "./layers/mixer.ts"

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

export interface CachedPass extends CacheShape {
  /** Tokens of a row that the pass reads. */
  readonly length: number
  /** i32 []: tokens that earlier passes have read. */
  readonly start: Tensor
  /** i32 [1]: of the tokens so many count, at least one; padding is behind them. */
  readonly count: Tensor
}

/**
 * A causal pass over tokens that come behind those in the caches: what `forward` takes for it, and, once that has run, the caches for the next pass, by names that
 * `inPlace` leads back to those that are read.
 */
export const cachedPass = (config: ModelConfig, { capacity, count, length, rows, start }: CachedPass) => {
  const slots = iota("i32", [capacity], 0)
  const positions = add(iota("i32", [1, length], 1), start)
  // A slot behind a query's position holds nothing yet, or what a padded pass left there.
  const seen = lessEqual(reshape(slots, [1, capacity]), reshape(positions, [length, 1]))
  const mask = scoreMask(reshape(seen, [1, length, capacity]))
  const offset = sub(slots, start)
  const own = and(lessEqual(constant(0, "i32"), offset), less(offset, constant(length, "i32")))
  const source = maximum(minimum(offset, length - 1), 0)

  const outputs: { [name: string]: Tensor } = {}
  const inPlace: { [output: string]: string } = {}
  const caches = layerCaches(config, { capacity, rows })
  const cache = (layer: number): LayerCache => {
    const spec = (name: string): CacheSpec => caches[layer]!.get(name)!
    const held = (name: string): Tensor => input(spec(name).name, spec(name).dtype, spec(name).shape)
    // The text before this one may have left something.
    const read = (name: string): Tensor => select(lessEqual(start, 0), 0, held(name))
    const write = (name: string, value: Tensor): void => {
      const written = `${spec(name).name}/next`
      outputs[written] = value
      inPlace[written] = spec(name).name
    }
    const append = (name: string, fresh: Tensor): Tensor => {
      const here = reshape(own, [1, capacity, ...fresh.shape.slice(2).map(() => 1)])
      const all = select(here, gather(fresh, source, 1), held(name))
      write(name, all)
      return all
    }
    return { count, read, write, append }
  }
  const options: ForwardOptions = { causal: true, positions, mask, cache }
  return { options, outputs, inPlace }
}
