/**
 * Models larger than memory: one program for all layers that compute the same, run with the weights of one layer after the other, which are read from their files
 * while the layer before computes. What enters each layer is kept, what is inside of it is computed again in the backward pass.
 */
import { Effect, type Scope } from "effect"
import type { PackedArrays } from "../tokens/packing.ts"
import type { StoredTensor, StoredTensors } from "../formats/tensorFiles.ts"
import type { Buffer, Buffers, Call, Engine, EngineError, Executable } from "../engines/Engine.ts"
import { vjp } from "../tensor/autodiff.ts"
import { gather, input, reshape } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import type { BatchShape } from "../models/nextTokenLoss.ts"
import type { AttentionContext } from "../models/layers/attention.ts"
import {
  embeddingKey,
  finalNorm,
  headKey,
  layerPrefix,
  type ModelConfig,
  parameterAliases,
  parameterSpecs
} from "../models/config.ts"
import { makeLayer } from "../models/layers/layer.ts"
import { dense } from "../models/linear/linear.ts"
import {
  allocateParameters,
  type Parameter,
  type ParameterBuffers,
  parameterInputs,
  type ParameterSpec
} from "../models/parameters.ts"
import { layerContext } from "../models/decoder.ts"
import { makeStreamedHead, type StreamedHead, type StreamError } from "./streamedHead.ts"
import { matchWeights, type WeightsError } from "../models/weights.ts"

export interface LayerwiseOptions extends BatchShape {
  readonly causal: boolean
  /** Positions, in all rows together, whose logits or losses are asked for. */
  readonly wanted: number
  /** Rows of the head that are held at once. */
  readonly blockRows?: number
}

/** What happens to the gradient of a parameter, or of some rows of the head from `firstRow` on. */
export type OnGradient = (name: string, gradient: Float32Array, firstRow: number) => Effect.Effect<void, StreamError>

export interface Layerwise {
  /** Runs all layers; what the other functions read stays until the next call. */
  readonly forward: (packed: PackedArrays) => Effect.Effect<void, StreamError>
  /** Logits [wanted, V] at positions, counted through the rows. */
  readonly logits: (positions: Int32Array) => Effect.Effect<Float32Array, StreamError>
  /**
   * Sum of the weighted cross-entropies of the targets given the states at the positions, nats; hands over the gradient of every
   * parameter. The embedding's comes in two parts that add up where it is also the head.
   */
  readonly backward: (
    wanted: { readonly positions: Int32Array; readonly targets: Int32Array; readonly weights: Float32Array },
    onGradient: OnGradient
  ) => Effect.Effect<number, StreamError>
}

const defaultBlockRows = 2 ** 14
const gradientName = (name: string): string => `gradient/${name}`

/** What layers that compute the same share: a program, and room for the weights of the running layer and of the next. */
interface LayerKind {
  /** Names count from the layer. */
  readonly specs: ReadonlyArray<ParameterSpec>
  readonly parameter: Parameter
  /** x [rows, length, d] after a layer. */
  readonly y: Tensor
  readonly program: Executable
  readonly sets: readonly [ParameterBuffers, ParameterBuffers]
}

/** The kind of each layer. */
const layerKinds = (
  engine: Engine,
  config: ModelConfig,
  x: Tensor,
  attention: AttentionContext
): Effect.Effect<ReadonlyArray<LayerKind>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const context = layerContext(config, x.shape[1]!, x.dtype, attention)
    const known = new Map<string, LayerKind>()
    const kinds: Array<LayerKind> = []
    for (const layer of config.layers) {
      const key = JSON.stringify(layer)
      if (!known.has(key)) {
        const { make, specs } = makeLayer(layer, config.hiddenSize, dense(config.initializerRange))
        const parameter = parameterInputs(specs)
        const y = make(parameter)(context)(x)
        known.set(key, {
          specs,
          parameter,
          y,
          program: yield* engine.compile(makeProgram({ y })),
          sets: [yield* allocateParameters(engine, specs), yield* allocateParameters(engine, specs)]
        })
      }
      kinds.push(known.get(key)!)
    }
    return kinds
  })

/** From dy to dx and the gradients of a layer's weights, its inside computed again. */
const layerBackward = (engine: Engine, { parameter, specs, y }: LayerKind, x: Tensor) =>
  Effect.gen(function* () {
    const gradients = yield* allocateParameters(engine, specs)
    const names = specs.map(({ name }) => name)
    const [dx, ...ofWeights] = vjp([y], [input("dy", "f32", y.shape)], [x, ...names.map(parameter)])
    const program = yield* engine.compile(
      makeProgram({ dx: dx!, ...Object.fromEntries(names.map((name, i) => [gradientName(name), ofWeights[i]!])) })
    )
    const outputs: Buffers = Object.fromEntries(names.map(name => [gradientName(name), gradients.views[name]!]))
    return { gradients, outputs, program }
  })

export const makeLayerwise = (
  engine: Engine,
  config: ModelConfig,
  tensors: StoredTensors,
  { blockRows = defaultBlockRows, causal, length, rows, wanted }: LayerwiseOptions
): Effect.Effect<Layerwise, EngineError | WeightsError | StreamError, Scope.Scope> =>
  Effect.gen(function* () {
    const d = config.hiddenSize
    const found = yield* matchWeights(parameterSpecs(config), tensors, parameterAliases(config))
    const stored = (name: string): StoredTensor => found.get(name)!
    const stateShape = [rows, length, d]
    const segmentIds = yield* engine.allocate("i32", [rows, length])
    const positions = yield* engine.allocate("i32", [rows, length])
    const states: Array<Buffer> = []
    for (let i = 0; i <= config.layers.length; i++) states.push(yield* engine.allocate("f32", stateShape))

    const x = input("x", "f32", stateShape)
    const kinds = yield* layerKinds(engine, config, x, {
      causal,
      segmentIds: input("segmentIds", "i32", [rows, length]),
      positions: input("positions", "i32", [rows, length])
    })
    const setOf = (layer: number): ParameterBuffers => kinds[layer]!.sets[layer % 2]!
    const forwardCalls: Array<Call> = []
    for (let layer = 0; layer < config.layers.length; layer++)
      forwardCalls.push(
        yield* engine.bind(
          kinds[layer]!.program,
          { x: states[layer]!, segmentIds, positions, ...setOf(layer).views },
          { y: states[layer + 1]! }
        )
      )

    const at = yield* engine.allocate("i32", [wanted])
    const hidden = yield* engine.allocate("f32", [wanted, d])
    const hiddenGradient = yield* engine.allocate("f32", [wanted, d])
    const lastNorm = finalNorm(config)
    const finalNormKey = lastNorm.specs[0]!.name
    const normWeight = yield* engine.allocate("f32", [d])
    yield* engine.upload(normWeight, yield* stored(finalNormKey).floats(0, d))
    const last = input("last", "f32", stateShape)
    const norm = input("norm", "f32", [d])
    const picked = gather(reshape(last, [rows * length, d]), input("at", "i32", [wanted]))
    const normed = lastNorm.make(() => norm)(picked)
    const pick = yield* engine.bind(
      yield* engine.compile(makeProgram({ hidden: normed })),
      { last: states.at(-1)!, norm: normWeight, at },
      { hidden }
    )
    const headName = config.tiedHead ? embeddingKey : headKey
    const head: StreamedHead = yield* makeStreamedHead(engine, stored(headName), { hidden, hiddenGradient, blockRows })

    const loadLayer = (layer: number): Effect.Effect<void, StreamError> =>
      Effect.forEach(
        kinds[layer]!.specs,
        ({ name }) => {
          const tensor = stored(`${layerPrefix(layer)}${name}`)
          const size = tensor.shape.reduce((product, extent) => product * extent, 1)
          return Effect.flatMap(tensor.floats(0, size), values => engine.upload(setOf(layer).views[name]!, values))
        },
        { discard: true }
      )

    /** Calls `use` for each layer of an order with its weights in place; reads those of the next one meanwhile. */
    const overLayers = (
      order: ReadonlyArray<number>,
      use: (layer: number) => Effect.Effect<void, StreamError>
    ): Effect.Effect<void, StreamError> =>
      Effect.gen(function* () {
        if (order.length > 0) yield* loadLayer(order[0]!)
        for (const [i, layer] of order.entries()) {
          const next = order[i + 1]
          yield* Effect.all([use(layer), next === undefined ? Effect.void : loadLayer(next)], {
            concurrency: 2,
            discard: true
          })
        }
      })
    const ascending = Array.from({ length: config.layers.length }, (_, layer) => layer)

    let ids: Int32Array = new Int32Array(0)
    const embed = Effect.gen(function* () {
      const embedding = stored(embeddingKey)
      const known = new Map<number, Float32Array>()
      const all = new Float32Array(ids.length * d)
      for (const [i, id] of ids.entries()) {
        const row = known.get(id) ?? (yield* embedding.floats(id * d, (id + 1) * d))
        known.set(id, row)
        all.set(row, i * d)
      }
      yield* engine.upload(states[0]!, all)
    })

    const forward = (packed: PackedArrays) =>
      Effect.gen(function* () {
        ids = packed.ids
        yield* engine.upload(segmentIds, packed.segmentIds)
        yield* engine.upload(positions, packed.positions)
        yield* embed
        yield* overLayers(ascending, layer => engine.run([forwardCalls[layer]!]))
      })

    return {
      forward,
      logits: wantedPositions =>
        Effect.gen(function* () {
          yield* engine.upload(at, wantedPositions)
          yield* engine.run([pick])
          return yield* head.logits
        }),
      backward: ({ positions: wantedPositions, targets, weights }, onGradient) =>
        Effect.scoped(
          Effect.gen(function* () {
            // Gradients of what enters and leaves a layer, in turns.
            const flowing = [yield* engine.allocate("f32", stateShape), yield* engine.allocate("f32", stateShape)]
            const backwards = new Map(
              yield* Effect.forEach(new Set(kinds), kind =>
                Effect.map(layerBackward(engine, kind, x), b => [kind, b] as const)
              )
            )

            yield* engine.upload(at, wantedPositions)
            yield* engine.run([pick])
            const loss = yield* head.loss(targets, weights, (firstRow, gradient) =>
              onGradient(headName, gradient, firstRow)
            )
            const [dLast, dNorm] = vjp([normed], [input("seed", "f32", [wanted, d])], [last, norm])
            const normGradient = yield* engine.allocate("f32", [d])
            const top = yield* engine.bind(
              yield* engine.compile(makeProgram({ dLast: dLast!, dNorm: dNorm! })),
              { last: states.at(-1)!, norm: normWeight, at, seed: hiddenGradient },
              { dLast: flowing[config.layers.length % 2]!, dNorm: normGradient }
            )
            yield* engine.run([top])
            yield* onGradient(finalNormKey, (yield* engine.download(normGradient)) as Float32Array, 0)

            yield* overLayers(ascending.toReversed(), layer =>
              Effect.gen(function* () {
                const { gradients, outputs, program } = backwards.get(kinds[layer]!)!
                const call = yield* engine.bind(
                  program,
                  {
                    x: states[layer]!,
                    segmentIds,
                    positions,
                    ...setOf(layer).views,
                    dy: flowing[(layer + 1) % 2]!
                  },
                  { dx: flowing[layer % 2]!, ...outputs }
                )
                yield* engine.run([call])
                for (const { name } of gradients.specs)
                  yield* onGradient(
                    `${layerPrefix(layer)}${name}`,
                    (yield* engine.download(gradients.views[name]!)) as Float32Array,
                    0
                  )
              }).pipe(Effect.scoped)
            )
            const entering = (yield* engine.download(flowing[0]!)) as Float32Array
            for (const [i, id] of ids.entries())
              yield* onGradient(embeddingKey, entering.subarray(i * d, (i + 1) * d), id)
            return loss
          })
        )
    }
  })
