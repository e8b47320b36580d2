/** An adapter taken into the weights: W + s B A in f32, then cast to what W was; with DoRA each row as long as its magnitude says. */
import { Effect } from "effect"
import { encodeFloats, type FloatFormat, torchNames } from "../../formats/floats.ts"
import type { FileError } from "../../formats/fileError.ts"
import { copyOf, type Saved, type StoredTensor, type TensorFilesError, withRows } from "../../formats/tensorFiles.ts"
import type { Engine } from "../../engines/Engine.ts"
import { elements } from "../../tensor/Tensor.ts"
import type { OpenModel } from "../artifact.ts"
import { adapterSpecs, allLinearModules, embeddingKey, type LinearModule, tokenRowsKey } from "../config.ts"
import { type Lora, loraNames, loraScale } from "../linear/lora.ts"
import type { ParameterBuffers } from "../parameters.ts"
import { savedFormat } from "../quantised.ts"

/** An adapter's numbers: A [r, in], B [out, r], and with DoRA magnitudes [out]. */
export interface LoraValues {
  readonly a: Float32Array
  readonly b: Float32Array
  readonly magnitude?: Float32Array
}

/** Length of a row. */
const lengthOf = (row: Float32Array): number => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0))

/** Adds an adapter to a weight [out, in], in place. Products are summed in f64, each sum and result is an f32. */
export const mergeInto = (
  weight: Float32Array,
  lora: Pick<Lora, "alpha" | "r" | "rankStabilised">,
  values: LoraValues
): void => {
  const { a, b, magnitude } = values
  const { r } = lora
  const scale = loraScale(lora)
  const inputs = a.length / r
  const change = new Float64Array(inputs)
  for (let out = 0; out < weight.length / inputs; out++) {
    change.fill(0)
    for (let k = 0; k < r; k++) {
      const factor = b[out * r + k]!
      for (let i = 0; i < inputs; i++) change[i]! += factor * a[k * inputs + i]!
    }
    const row = weight.subarray(out * inputs, (out + 1) * inputs)
    for (let i = 0; i < inputs; i++) row[i] = row[i]! + Math.fround(scale * change[i]!)
    if (magnitude === undefined) continue
    const stretch = magnitude[out]! / lengthOf(row)
    for (let i = 0; i < inputs; i++) row[i] = row[i]! * stretch
  }
}

const all = ({ floats, shape }: Pick<StoredTensor, "floats" | "shape">) => floats(0, elements(shape))

/** What a weight in NF4 was before, or what a dense one is. */
const formatBefore = (tensor: StoredTensor) =>
  tensor.nf4 === undefined
    ? savedFormat(tensor)
    : (Object.keys(torchNames) as Array<keyof typeof torchNames>).find(
        format => torchNames[format] === tensor.nf4!.dtype
      )!

/**
 * The tensors of a model's base with its adapter taken in, dense, under the base's own names: weights in NF4 are dequantised, whether they are adapted or not; all else is as it is. One weight is read at a time, when it is written.
 */
export const mergedTensors = ({
  config,
  tensors
}: Pick<OpenModel, "config" | "tensors">): ReadonlyArray<Saved<FileError | TensorFilesError>> => {
  const ofAdapter = new Set(adapterSpecs(config).map(({ name }) => name))
  const adapted = new Map(allLinearModules(config).map(each => [`${each.module}.weight`, each]))
  const { trainableTokens = [] } = config.linear?.adapter ?? {}
  const ofBase = [...tensors].filter(([name]) => !ofAdapter.has(name))
  return ofBase.map(([ours, tensor]) => {
    if (ours === embeddingKey && trainableTokens.length > 0)
      return withRows(tensor, tokenRows(trainableTokens, tensors, tensor.dtype as FloatFormat))
    const linear = adapted.get(ours)
    if (linear?.lora === undefined && tensor.nf4 === undefined) return copyOf(tensor)
    // A weight in NF4 may leave its shape to the model.
    const shape = linear === undefined ? tensor.shape : [linear.outputs, linear.inputs]
    const { floats, name } = tensor
    const format: FloatFormat = formatBefore(tensor)
    return {
      tensors: [{ name, dtype: format, shape }],
      bytes: Effect.gen(function* () {
        const weight = yield* all({ floats, shape })
        if (linear?.lora !== undefined) mergeInto(weight, linear.lora, yield* loraValues(linear, linear.lora, tensors))
        return [encodeFloats(format, weight)]
      })
    }
  })
}

/** The adapter's own rows of the embedding, in the order of the embedding. */
const tokenRows = (tokens: ReadonlyArray<number>, tensors: OpenModel["tensors"], format: FloatFormat) => {
  const { floats, shape } = tensors.get(tokenRowsKey)!
  const d = shape[1]!
  return tokens
    .map((row, i) => ({
      row,
      bytes: Effect.map(floats(i * d, (i + 1) * d), values => encodeFloats(format, values))
    }))
    .toSorted((a, b) => a.row - b.row)
}

const loraValues = Effect.fnUntraced(function* (
  { module }: LinearModule,
  { dora }: Lora,
  tensors: OpenModel["tensors"]
) {
  const names = loraNames(module)
  const read = (name: string) => all(tensors.get(name)!)
  return {
    a: yield* read(names.a),
    b: yield* read(names.b),
    ...(dora ? { magnitude: yield* read(names.magnitude) } : {})
  } satisfies LoraValues
})

/** Fills the magnitudes of fresh adapters with DoRA, as far as they are among some parameters, with the lengths of the weights' rows, so that they change nothing. Reads one weight at a time. */
export const fillMagnitudes = Effect.fn("fillMagnitudes")(function* (
  engine: Engine,
  { config, tensors }: Pick<OpenModel, "config" | "tensors">,
  { specs, views }: Pick<ParameterBuffers, "specs" | "views">
) {
  const there = new Set(specs.map(({ name }) => name))
  for (const { inputs, lora, module, outputs } of allLinearModules(config)) {
    if (lora === undefined || !lora.dora || !there.has(loraNames(module).magnitude)) continue
    const weight = yield* tensors.get(`${module}.weight`)!.floats(0, outputs * inputs)
    const lengths = Float32Array.from({ length: outputs }, (_, out) =>
      lengthOf(weight.subarray(out * inputs, (out + 1) * inputs))
    )
    yield* engine.upload(views[loraNames(module).magnitude]!, lengths)
  }
})
