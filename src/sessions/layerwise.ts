/**
 * Models larger than memory, forward and backward: a program for each kind of layer, run with the weights of one layer after the other, which are read from their
 * files while the layer before computes. What is inside of a layer is computed again in the backward pass.
 */
import { Effect, type Scope } from "effect"
import type { PackedArrays } from "../tokens/packing.ts"
import type { StoredTensor } from "../formats/tensorFiles.ts"
import type { Buffer, Buffers, Engine, EngineError, Executable } from "../engines/Engine.ts"
import { greatest } from "../pipeline/lists.ts"
import { vjp } from "../tensor/autodiff.ts"
import { input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import { type OpenModel, tensorsBeside } from "../models/artifact.ts"
import {
  embeddingKey,
  layerPrefix,
  linearModules,
  parameterAliases,
  parameterSpecs,
  tokenRowsKey,
  unplacedLayer
} from "../models/config.ts"
import { layerContext } from "../models/decoder.ts"
import { allocateParameters, type ParameterBuffers, parameterInputs } from "../models/parameters.ts"
import { loadParameter, matchWeights, type WeightsError } from "../models/weights.ts"
import type { RowStates } from "./hiddenStates.ts"
import { rowTensors } from "./query.ts"
import { makeStreamedHead, type OnGradient, type StreamError, type Targets } from "./streamedHead.ts"

export interface LayerwiseOptions extends BatchShape {
  readonly causal: boolean
  /** Where a backward pass follows, what enters each layer is kept. */
  readonly backward?: boolean
}

export interface Layerwise {
  /** Runs the layers, or the first few of them. `onStates` may download what leaves a layer (1, 2, …) and the embedding (0), f32 [rows, length, d]. */
  readonly forward: (
    packed: PackedArrays,
    options?: {
      readonly layers?: number
      readonly onStates?: (
        layer: number,
        states: Effect.Effect<Float32Array<ArrayBuffer>, EngineError>
      ) => Effect.Effect<void, EngineError>
    }
  ) => Effect.Effect<void, StreamError>
  /** From the gradient of what left the last layer to those of all layers and of the embedding's rows. */
  readonly backward: (statesGradient: Buffer, onGradient: OnGradient) => Effect.Effect<void, StreamError>
  /** What the last forward pass left behind the last layer. */
  readonly states: Buffer
  readonly stored: (name: string) => StoredTensor
}

type LayerwiseModel = Pick<OpenModel, "config" | "json" | "tensors">

const gradientName = (name: string): string => `gradient/${name}`

/** Programs of layers of a kind, and room for the weights of the running layer and of the next. Names count from the layer. */
interface Compiled {
  readonly forward: Executable
  /** From dy to dx and the gradients of the weights that are trained. */
  readonly backward?: { readonly program: Executable; readonly gradients: ParameterBuffers }
  readonly sets: readonly [ParameterBuffers, ParameterBuffers]
}

/** The programs of each layer; those of equal kinds are the same. A run's memory is that of a layer's weights as floats, so that none is kept for the other kinds. */
const compiledLayers = (
  engine: Engine,
  { config }: LayerwiseModel,
  { backward = false, causal, ...shape }: LayerwiseOptions
): Effect.Effect<ReadonlyArray<Compiled>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const { positions, segmentIds } = rowTensors(shape)
    const context = layerContext(config, shape.length, "f32", { causal, positions, segmentIds })
    const x = input("x", "f32", [shape.rows, shape.length, config.hiddenSize])
    const known = new Map<string, Compiled>()
    const keys = config.layers.map((kind, layer) => {
      const maps = linearModules(config, layer).map(({ lora, nf4 }) => ({ lora, nf4 }))
      return JSON.stringify({ kind, maps })
    })
    for (const [layer, key] of keys.entries()) {
      if (known.has(key)) continue
      const { make, specs } = unplacedLayer(config, layer)
      const trained = specs.filter(spec => spec.trained !== false)
      const parameter = parameterInputs(specs)
      const y = make(parameter)(context)(x)
      const [dx, ...ofWeights] = backward
        ? vjp([y], [input("dy", "f32", y.shape)], [x, ...trained.map(({ name }) => parameter(name))])
        : []
      const gradients = Object.fromEntries(trained.map(({ name }, i) => [gradientName(name), ofWeights[i]!]))
      known.set(key, {
        forward: yield* engine.compile(makeProgram({ y }), { sparing: true }),
        sets: [yield* allocateParameters(engine, specs), yield* allocateParameters(engine, specs)],
        ...(dx === undefined
          ? {}
          : {
              backward: {
                program: yield* engine.compile(makeProgram({ dx, ...gradients }), { sparing: true }),
                gradients: yield* allocateParameters(engine, trained)
              }
            })
      })
    }
    return keys.map(key => known.get(key)!)
  })

export const makeLayerwise = (
  engine: Engine,
  model: LayerwiseModel,
  options: LayerwiseOptions
): Effect.Effect<Layerwise, StreamError | WeightsError, Scope.Scope> =>
  Effect.gen(function* () {
    const { config, tensors } = model
    const { backward = false, length, rows } = options
    const d = config.hiddenSize
    const depth = config.layers.length
    const found = yield* matchWeights(parameterSpecs(config), tensors, parameterAliases(config), tensorsBeside(model))
    const stored = (name: string): StoredTensor => found.get(name)!
    const layers = yield* compiledLayers(engine, model, options)
    const allocate = (count: number) =>
      Effect.forEach(Array.from({ length: count }), () => engine.allocate("f32", [rows, length, d]))
    const states = yield* allocate(backward ? depth + 1 : 2)
    /** What leaves a layer. */
    const statesOf = (layer: number): Buffer => states[layer % states.length]!
    const data: Buffers = {
      segmentIds: yield* engine.allocate("i32", [rows, length]),
      positions: yield* engine.allocate("i32", [rows, length])
    }
    const setOf = (layer: number): ParameterBuffers => layers[layer]!.sets[layer % 2]!
    const load = (layer: number) =>
      Effect.forEach(
        setOf(layer).specs,
        spec => loadParameter(engine, spec, setOf(layer).views, stored(`${layerPrefix(layer)}${spec.name}`)),
        { discard: true }
      )
    /** Runs a program of a layer, whose weights are in place. */
    const run = (layer: number, program: Executable, given: Buffers, outputs: Buffers) =>
      Effect.scoped(
        Effect.gen(function* () {
          const all = { ...setOf(layer).views, ...data, ...given }
          const inputs = Object.fromEntries(program.program.inputs.map(({ name }) => [name, all[name]!]))
          yield* engine.run([yield* engine.bind(program, inputs, outputs)])
        })
      )
    /** Calls `use` for each layer of an order with its weights in place; reads those of the next one meanwhile. */
    const overLayers = (order: ReadonlyArray<number>, use: (layer: number) => Effect.Effect<void, StreamError>) =>
      Effect.gen(function* () {
        if (order.length > 0) yield* load(order[0]!)
        for (const [i, layer] of order.entries()) {
          const next = order[i + 1]
          yield* Effect.all([use(layer), next === undefined ? Effect.void : load(next)], {
            concurrency: 2,
            discard: true
          })
        }
      })
    const floats = (buffer: Buffer) =>
      Effect.map(engine.download(buffer), values => values as Float32Array<ArrayBuffer>)

    const { trainableTokens = [] } = config.linear?.adapter ?? {}
    /** Where a token's embedding lies. */
    const rowOf = (id: number) => {
      const own = trainableTokens.indexOf(id)
      return own === -1 ? { name: embeddingKey, row: id } : { name: tokenRowsKey, row: own }
    }
    let ids: Int32Array = new Int32Array(0)
    const embed = Effect.gen(function* () {
      const known = new Map<number, Float32Array>()
      const all = new Float32Array(ids.length * d)
      for (const [i, id] of ids.entries()) {
        const { name, row: at } = rowOf(id)
        const row = known.get(id) ?? (yield* stored(name).floats(at * d, (at + 1) * d))
        known.set(id, row)
        all.set(row, i * d)
      }
      yield* engine.upload(statesOf(0), all)
    })

    return {
      stored,
      states: statesOf(depth),
      forward: (packed, { layers: count = depth, onStates = () => Effect.void } = {}) =>
        Effect.gen(function* () {
          ids = packed.ids
          for (const name of ["segmentIds", "positions"] as const) yield* engine.upload(data[name]!, packed[name])
          yield* embed
          yield* onStates(0, floats(statesOf(0)))
          yield* overLayers([...layers.keys()].slice(0, count), layer =>
            Effect.andThen(
              run(layer, layers[layer]!.forward, { x: statesOf(layer) }, { y: statesOf(layer + 1) }),
              onStates(layer + 1, floats(statesOf(layer + 1)))
            )
          )
        }),
      backward: (statesGradient, onGradient) =>
        Effect.scoped(
          Effect.gen(function* () {
            // Gradients of what enters and leaves a layer, in turns.
            const flowing = yield* allocate(2)
            const gradientOf = (layer: number): Buffer => (layer === depth ? statesGradient : flowing[layer % 2]!)
            yield* overLayers([...layers.keys()].reverse(), layer =>
              Effect.gen(function* () {
                const { gradients, program } = layers[layer]!.backward!
                const outputs = Object.entries(gradients.views).map(([name, view]) => [gradientName(name), view])
                yield* run(
                  layer,
                  program,
                  { x: statesOf(layer), dy: gradientOf(layer + 1) },
                  { dx: gradientOf(layer), ...(Object.fromEntries(outputs) as Buffers) }
                )
                for (const [name, view] of Object.entries(gradients.views))
                  yield* onGradient(`${layerPrefix(layer)}${name}`, yield* floats(view), 0)
              })
            )
            const entering = yield* floats(gradientOf(0))
            for (const [i, id] of ids.entries()) {
              const { name, row } = rowOf(id)
              yield* onGradient(name, entering.subarray(i * d, (i + 1) * d), row)
            }
          })
        )
    }
  })

/** Hidden states by a model whose weights are read layer by layer. */
export const layerwiseStates =
  (engine: Engine, model: LayerwiseModel): RowStates<StreamError | WeightsError> =>
  ({ layers, ...options }) =>
    Effect.map(
      makeLayerwise(engine, model, options),
      ({ forward }) =>
        packed =>
          Effect.gen(function* () {
            const found = new Map<number, Float32Array<ArrayBuffer>>()
            yield* forward(packed, {
              layers: greatest(layers),
              onStates: (layer, states) =>
                layers.includes(layer) ? Effect.map(states, values => void found.set(layer, values)) : Effect.void
            })
            return layers.map(layer => found.get(layer)!)
          })
    )

/** Rows of the head that are held at once. */
const defaultBlockRows = 2 ** 14

/** A whole model, with a head for so many positions at once. */
export const makeLayerwiseModel = (
  engine: Engine,
  model: LayerwiseModel,
  {
    blockRows = defaultBlockRows,
    predictions,
    ...options
  }: LayerwiseOptions & { readonly predictions: number; readonly blockRows?: number }
) =>
  Effect.gen(function* () {
    const { backward, forward, states, stored } = yield* makeLayerwise(engine, model, options)
    const head = yield* makeStreamedHead(engine, model.config, stored, { states, predictions, blockRows })
    return {
      forward: (packed: PackedArrays) => forward(packed),
      /** Logits [predictions, V] of the last forward pass at positions, counted through the rows. */
      logits: head.logits,
      /**
       * Sum of the weighted cross-entropies of the targets given the states at the positions, nats; hands over the gradient of every
       * parameter. The embedding's comes in parts that add up, where it is also the head.
       */
      backward: (wanted: Targets, onGradient: OnGradient): Effect.Effect<number, StreamError> =>
        Effect.tap(head.loss(wanted, onGradient), () => backward(head.statesGradient, onGradient))
    }
  })
