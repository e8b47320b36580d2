/**
 * Weights in NF4 as bitsandbytes keeps them in safetensors files. Beside `weight`, the packed codes, lie `weight.absmax`, `weight.quant_map` (the 16 codes), with double quantisation
 * `weight.nested_absmax` and `weight.nested_quant_map` (the dynamic map), and `weight.quant_state.bitsandbytes__nf4`, a text of JSON in bytes. Source: `QuantState` in
 * bitsandbytes/functional.py.
 */
import { Effect, Schema } from "effect"
import { visible } from "../pipeline/Problem.ts"
import { sameShape } from "../tensor/shape.ts"
import {
  dequantisedAbsmax,
  dequantisedNf4,
  dynamicMap,
  nestedBlockSize,
  type Nf4Content,
  nf4Content,
  nf4Codes,
  type Nf4Layout,
  type NestedAbsmax
} from "../tensor/nf4.ts"
import { elements, type Shape, shapeText } from "../tensor/Tensor.ts"
import { encodeFloats, torchNames } from "./floats.ts"
import { type Dtype, shorten, type TensorSpec } from "./safetensors.ts"
import {
  type SaveOptions,
  type StoredTensor,
  type StoredTensors,
  TensorFilesError,
  type TensorGroup
} from "./tensorFiles.ts"

/** Numbers that may share an absmax. */
const blockSizes = [32, 64, 128, 256, 512, 1024, 2048, 4096] as const

const Size = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const stateFields = {
  quant_type: Schema.Literal("nf4"),
  blocksize: Schema.Literals(blockSizes),
  /** What the weight was, and what bitsandbytes makes of it again. */
  dtype: Schema.Literals(["float32", "float16", "bfloat16"]),
  /** Null where only the model knows it. */
  shape: Schema.NullOr(Schema.Array(Size))
}
const NestedState = Schema.Struct({
  ...stateFields,
  nested_blocksize: Schema.Literal(nestedBlockSize),
  nested_dtype: Schema.Literal("float32"),
  nested_offset: Schema.Finite
})
/** The JSON beside a weight, with double quantisation or without. */
const QuantState = Schema.Union([NestedState, Schema.Struct(stateFields)])

const stateSuffix = ".quant_state.bitsandbytes__nf4"
const otherState = /\.quant_state\.bitsandbytes__(?!nf4$)(\w+)$/
/** Bytes of the longest state that is read. */
const longestState = 2 ** 16

/** The tensors beside a weight of n numbers, and the arrays that two of them must hold. */
const partsOf = (
  n: number,
  { blockSize, doubleQuant }: Nf4Layout
): ReadonlyArray<{
  readonly suffix: string
  readonly dtype: Dtype
  readonly shape: Shape
  readonly always?: Float32Array
}> => {
  const blocks = Math.ceil(n / blockSize)
  const codes = {
    suffix: ".quant_map",
    dtype: "F32",
    shape: [nf4Codes.length],
    always: Float32Array.from(nf4Codes)
  } as const
  if (!doubleQuant) return [{ suffix: ".absmax", dtype: "F32", shape: [blocks] }, codes]
  return [
    { suffix: ".absmax", dtype: "U8", shape: [blocks] },
    codes,
    { suffix: ".nested_absmax", dtype: "F32", shape: [Math.ceil(blocks / nestedBlockSize)] },
    { suffix: ".nested_quant_map", dtype: "F32", shape: [dynamicMap.length], always: dynamicMap }
  ]
}

const refuse = (tensor: StoredTensor, what: string) =>
  new TensorFilesError({ message: visible(`${tensor.file}: the weight ${shorten(tensor.name)} in NF4: ${what}`) })

/** The same tensors, with each weight in NF4 as one of its own shape whose numbers are dequantised when they are read. Fails where its parts do not fit together. */
export const quantisedTensors = Effect.fn("quantisedTensors")(function* (tensors: StoredTensors) {
  const all = new Map(tensors)
  for (const [key, state] of tensors) {
    const other = otherState.exec(key)
    if (other !== null)
      return yield* refuse(state, `it is in ${other[1]!}; of the formats of bitsandbytes, nf4 alone is supported`)
    if (!key.endsWith(stateSuffix)) continue
    const name = key.slice(0, -stateSuffix.length)
    const weight = tensors.get(name)
    if (weight === undefined) return yield* refuse(state, `there is no ${shorten(name)} to it`)
    const { parts, tensor } = yield* quantisedTensor(weight, state, tensors)
    all.set(name, tensor)
    for (const part of [key, ...parts]) all.delete(part)
  }
  return all as StoredTensors
})

const quantisedTensor = Effect.fn("quantisedTensor")(function* (
  weight: StoredTensor,
  stateTensor: StoredTensor,
  tensors: StoredTensors
) {
  const state = yield* readState(weight, stateTensor)
  const nestedOffset = Schema.is(NestedState)(state) ? Math.fround(state.nested_offset) : undefined
  const layout: Nf4Layout = { blockSize: state.blocksize, doubleQuant: nestedOffset !== undefined }
  const shape = state.shape ?? [2 * weight.size]
  const n = elements(shape)
  if (weight.size !== Math.ceil(n / 2))
    return yield* refuse(weight, `${shapeText(shape)} takes ${Math.ceil(n / 2)} bytes, there are ${weight.size}`)
  const found = new Map<string, StoredTensor>()
  for (const { always, dtype, shape: wanted, suffix } of partsOf(n, layout)) {
    const part = tensors.get(`${weight.name}${suffix}`)
    if (part === undefined) return yield* refuse(weight, `${suffix.slice(1)} is missing`)
    if (part.dtype !== dtype || !sameShape(part.shape, wanted))
      return yield* refuse(
        weight,
        `${suffix.slice(1)} is ${part.dtype} ${shapeText(part.shape.slice(0, 16))}, expected ${dtype} ${shapeText(wanted)}`
      )
    if (always !== undefined) {
      const at = (yield* part.floats(0, always.length)).findIndex((value, i) => value !== always[i])
      if (at >= 0) return yield* refuse(weight, `${suffix.slice(1)} is not the one of its format, from number ${at} on`)
    }
    found.set(suffix, part)
  }
  const part = (suffix: string): StoredTensor => found.get(suffix)!

  /** The magnitudes of blocks `from` to `to`; with double quantisation `from` is the first of those that share a magnitude. */
  const absmaxOf = Effect.fnUntraced(function* (from: number, to: number) {
    const magnitudes = yield* layout.doubleQuant
      ? part(".nested_absmax").floats(from / nestedBlockSize, Math.ceil(to / nestedBlockSize))
      : part(".absmax").floats(from, to)
    if (!magnitudes.every(Number.isFinite))
      return yield* refuse(weight, "the magnitude of one of its blocks is no finite number")
    if (nestedOffset === undefined) return magnitudes
    const indices = yield* part(".absmax").bytes(from, to)
    return { indices, nestedAbsmax: magnitudes, offset: nestedOffset } satisfies NestedAbsmax
  })
  const tensor: StoredTensor = {
    ...weight,
    shape,
    floats: (from, to) =>
      Effect.gen(function* () {
        const step = layout.doubleQuant ? nestedBlockSize : 1
        const block = Math.floor(from / layout.blockSize / step) * step
        const start = block * layout.blockSize
        const packed = yield* weight.bytes(start / 2, Math.ceil(to / 2))
        const absmax = yield* absmaxOf(block, Math.ceil(to / layout.blockSize))
        const content = { packed, absmax: absmax instanceof Float32Array ? absmax : dequantisedAbsmax(absmax) }
        return dequantisedNf4(content, to - start, layout.blockSize).subarray(from - start)
      }),
    nf4: {
      layout,
      dtype: state.dtype,
      shaped: state.shape !== null,
      content: Effect.gen(function* () {
        const packed = yield* weight.bytes(0, weight.size)
        return { packed, absmax: yield* absmaxOf(0, Math.ceil(n / layout.blockSize)) }
      })
    }
  }
  return { tensor, parts: Array.from(found.values(), ({ name }) => name) }
})

const readState = Effect.fn("readState")(function* (weight: StoredTensor, { dtype, size, bytes }: StoredTensor) {
  if (dtype !== "U8" || size > longestState)
    return yield* refuse(weight, `its state is ${dtype} of ${size} bytes; a text of JSON as U8 is expected`)
  const text = new TextDecoder().decode(yield* bytes(0, size))
  return yield* Effect.mapError(
    Schema.decodeUnknownEffect(Schema.fromJsonString(QuantState))(text, { onExcessProperty: "error" }),
    ({ message }) => refuse(weight, `its state: ${message}`)
  )
})

/** Characters of the longest number in JSON. */
const longestNumber = 24

/** The state as JSON, with blanks behind it: a mean of magnitudes may be written in more or fewer characters, and the size of a file is known before its weights are. */
const stateBytes = (layout: Nf4Layout, shape: Shape, format: SaveOptions["format"], offset = 0): Uint8Array => {
  const base = { quant_type: "nf4", blocksize: layout.blockSize, dtype: torchNames[format], shape }
  if (!layout.doubleQuant) return Buffer.from(JSON.stringify(base))
  const text = JSON.stringify({
    ...base,
    nested_blocksize: nestedBlockSize,
    nested_dtype: "float32",
    nested_offset: offset
  })
  return Buffer.from(text.padEnd(text.length - String(offset).length + longestNumber))
}

const f32Bytes = (values: Float32Array): Uint8Array => encodeFloats("F32", Float32Array.from(values))

/** The tensors of a weight in NF4, under its name. `format`: what it was before, and what bitsandbytes makes of it again. */
export const nf4Group = <E>(
  name: string,
  shape: Shape,
  { format, layout }: { readonly layout: Nf4Layout; readonly format: SaveOptions["format"] },
  content: Effect.Effect<Nf4Content, E>
): TensorGroup<E> => {
  const n = elements(shape)
  const parts = partsOf(n, layout)
  const tensors: ReadonlyArray<TensorSpec> = [
    { name, dtype: "U8", shape: [Math.ceil(n / 2), 1] },
    { name: `${name}${stateSuffix}`, dtype: "U8", shape: [stateBytes(layout, shape, format).length] },
    ...parts.map(part => ({ name: `${name}${part.suffix}`, dtype: part.dtype, shape: part.shape }))
  ]
  return {
    tensors,
    bytes: Effect.map(content, ({ absmax, packed }) => {
      const single = absmax instanceof Float32Array
      const state = stateBytes(layout, shape, format, single ? undefined : absmax.offset)
      const made = single ? [f32Bytes(absmax)] : [absmax.indices, f32Bytes(absmax.nestedAbsmax)]
      // Those that are the same for all weights lie between those that are made.
      return [packed, state, ...parts.map(({ always }) => (always === undefined ? made.shift()! : f32Bytes(always)))]
    })
  }
}

/** Weights in NF4, given all their numbers, [rows, columns]. Fails for a number that is not finite, and says where it is. */
export const quantise = (
  name: string,
  shape: Shape,
  values: Float32Array,
  layout: Nf4Layout
): Effect.Effect<Nf4Content, TensorFilesError> => {
  const content = nf4Content(values, layout)
  const { absmax } = content
  // One that is not finite is in the magnitude of its block, and in the mean of all.
  const finite = absmax instanceof Float32Array ? absmax.every(Number.isFinite) : Number.isFinite(absmax.offset)
  if (finite) return Effect.succeed(content)
  const at = values.findIndex(value => !Number.isFinite(value))
  const columns = shape.at(-1) ?? 1
  return Effect.fail(
    new TensorFilesError({
      message: visible(
        `the weight ${shorten(name)} has ${values[at]} at [${Math.floor(at / columns)}, ${at % columns}]; it cannot be quantised to NF4`
      )
    })
  )
}

/** What `config.json` of a model says under `quantization_config`, so that transformers reads its weights in NF4. `skipped`: modules that are not quantised. */
export const quantizationConfig = (
  { doubleQuant }: Nf4Layout,
  format: SaveOptions["format"],
  skipped: ReadonlyArray<string>
): { readonly [field: string]: unknown } => ({
  quant_method: "bitsandbytes",
  _load_in_4bit: true,
  _load_in_8bit: false,
  load_in_4bit: true,
  load_in_8bit: false,
  bnb_4bit_quant_type: "nf4",
  bnb_4bit_use_double_quant: doubleQuant,
  bnb_4bit_compute_dtype: torchNames[format],
  bnb_4bit_quant_storage: "uint8",
  llm_int8_enable_fp32_cpu_offload: false,
  llm_int8_has_fp16_weight: false,
  llm_int8_skip_modules: skipped
})
