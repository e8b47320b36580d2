/**
 * GPU memory of a training step on the engine `torch`, by formula (docs/hardware.md). Parameters are counted as they lie in buffers; how much a pass holds besides was fitted to the values of
 * traced steps (test/preflight/trainingMemory.test.ts). Nothing here was measured on a GPU.
 */
import { embeddingKey, layerOf, linearModules, type ModelConfig, parameterSpecs } from "../models/config.ts"
import { logitBytes } from "../models/decoder.ts"
import { type BatchShape, predictionCount } from "../models/nextTokenLoss.ts"
import { countElements, nf4Layout, type ParameterSpec, storedBytes } from "../models/parameters.ts"
import { type Term, total } from "../pipeline/Bill.ts"
import { greatest } from "../pipeline/lists.ts"

export interface TrainingStep {
  /** Of a micro-batch. */
  readonly batch: BatchShape
  /** Whether layers are computed again in the backward pass. */
  readonly checkpointLayers: boolean
  /** Whether operands of products are rounded to 16 bits: weights then lie in memory rounded, too. */
  readonly sixteenBits: boolean
}

/** Activations are f32, and so is all that is trained. */
const f32 = 4
/** Copies of each number that goes into or comes out of a layer's linear maps: itself, its gradient, and what dropout, norms and the delta rule make of it. */
const copiesInside = 2.5
/** Of the scores of attention: the product, its softmax, and their gradient. */
const copiesOfScores = 3
/** Of logits: themselves, over the temperature, the logarithms of both softmaxes, one softmax, and their gradient. */
const copiesOfLogits = 6
/** Of what the head reads: as it leaves the final norm, cut for the predictions made at once, and the gradients of both. */
const copiesOfStates = 4
/** Of a map in NF4 made dense: an index, a code and a product for each number. */
const copiesOfDense = 3
/** CUDA's context, the workspaces of kernels, and holes between allocations: assumed. */
const reserve = 2e9

/** How a model's parameters divide: what is trained, what lies in NF4, and the rest. */
export const parts = (config: ModelConfig) => {
  const specs = parameterSpecs(config)
  const frozen = specs.filter(({ trained }) => trained === false)
  return {
    trained: specs.filter(({ trained }) => trained !== false),
    packed: frozen.filter(spec => nf4Layout(spec) !== undefined),
    dense: frozen.filter(spec => nf4Layout(spec) === undefined)
  }
}

/** What a step holds at its worst, in terms that add up. */
export const trainingMemory = (config: ModelConfig, step: TrainingStep): ReadonlyArray<Term> => {
  const { hiddenSize, layers, linear } = config
  const { dense, packed, trained } = parts(config)
  const { length, rows } = step.batch
  const [ofLayers, ofHead] = [insideLayers(config, step), insideHead(config, step)]
  return [
    { what: "weights in NF4", bytes: storedBytes(packed) },
    { what: "frozen weights that are not quantised", bytes: storedBytes(dense) },
    {
      what: `${linear?.adapter === undefined ? "weights" : "adapters"}, their gradients and two moments, f32`,
      bytes: 4 * f32 * countElements(trained)
    },
    {
      what: "copies of dense weights in 16 bits",
      bytes: step.sixteenBits ? 2 * countElements(multiplied(config, [...trained, ...dense])) : 0
    },
    { what: "what enters each layer, f32", bytes: f32 * rows * length * hiddenSize * (layers.length + 1) },
    // The backward pass is in one or the other.
    ...(total(ofLayers) > total(ofHead) ? ofLayers : ofHead),
    { what: "reserve for CUDA, assumed", bytes: reserve }
  ].filter(({ bytes }) => bytes > 0)
}

/** Matrices that products read: all but the embedding, which is looked up unless it is the head. */
const multiplied = ({ tiedHead }: ModelConfig, specs: ReadonlyArray<ParameterSpec>): ReadonlyArray<ParameterSpec> =>
  specs.filter(({ name, shape }) => shape.length > 1 && (tiedHead || name !== embeddingKey))

/** While the backward pass is in a layer: what is inside of it, or where layers are not computed again, of all. */
const insideLayers = (config: ModelConfig, { batch, checkpointLayers }: TrainingStep): ReadonlyArray<Term> => {
  const each = config.layers.map((_, layer) => insideLayer(config, layer, batch))
  const of = (layers: typeof each, copies: number): ReadonlyArray<Term> => {
    const sum = (bytes: (layer: (typeof each)[number]) => number): number =>
      layers.reduce((all, layer) => all + bytes(layer), 0)
    return [
      { what: `inside of ${among(layers.length)}`, bytes: sum(({ numbers }) => numbers) },
      { what: `scores of attention, of ${among(layers.length)}`, bytes: sum(({ scores }) => scores) },
      { what: "the largest linear map made dense", bytes: greatest(layers.map(({ dense }) => dense)) },
      { what: "the layer's weights, copied to compute it again", bytes: copies }
    ]
  }
  if (!checkpointLayers) return of(each, 0)
  return each.map(layer => of([layer], layer.weights)).reduce((a, b) => (total(b) > total(a) ? b : a))
}

const among = (layers: number): string => (layers === 1 ? "one layer" : `${layers} layers`)

/** Bytes of a layer in the backward pass. */
const insideLayer = (config: ModelConfig, layer: number, { length, rows }: BatchShape) => {
  const { feedForward, mixer } = config.layers[layer]!
  const modules = linearModules(config, layer)
  const experts =
    feedForward.kind === "moe"
      ? feedForward.expertsPerToken * (2 * config.hiddenSize + 3 * feedForward.intermediateSize)
      : 0
  const widths = modules.reduce((sum, { inputs, outputs }) => sum + inputs + outputs, experts)
  const packed = modules.filter(({ nf4 }) => nf4 !== undefined)
  return {
    numbers: copiesInside * f32 * rows * length * widths,
    scores: mixer.kind === "attention" ? copiesOfScores * f32 * rows * mixer.heads * length ** 2 : 0,
    dense: copiesOfDense * f32 * greatest([0, ...packed.map(({ inputs, outputs }) => inputs * outputs)]),
    weights: storedBytes(layerOf(config, layer).specs)
  }
}

/** While the backward pass is in the head: logits are made for some predictions at a time, and where that is not all of them, again from a copy of the head. */
const insideHead = ({ hiddenSize, vocabSize }: ModelConfig, { batch }: TrainingStep): ReadonlyArray<Term> => {
  const predictions = predictionCount(batch)
  const atOnce = Math.min(predictions, Math.max(1, Math.floor(logitBytes / (f32 * vocabSize))))
  return [
    { what: "what the head reads, and its gradient", bytes: copiesOfStates * f32 * predictions * hiddenSize },
    { what: `logits of ${atOnce} predictions at a time`, bytes: copiesOfLogits * f32 * atOnce * vocabSize },
    {
      what: "the head, copied to compute logits again",
      bytes: atOnce < predictions ? f32 * vocabSize * hiddenSize : 0
    }
  ]
}
