/** Parameters of any model: what there is, fresh values, and where they live on an engine. */
import { Effect, type Scope } from "effect"
import type { Buffer, Engine, EngineError } from "../engines/Engine.ts"
import { bytesPerElement, type DType, type HostArray } from "../tensor/dtype.ts"
import { nestedBlockSize, type Nf4Content, nf4Content, type Nf4Layout, plainNf4 } from "../tensor/nf4.ts"
import { input } from "../tensor/ops.ts"
import { normals, randomKey, uniforms } from "../tensor/random.ts"
import { elements, type Shape, type Tensor } from "../tensor/Tensor.ts"

/**
 * Fresh values: all 0, all 1, normal with mean 0 and this standard deviation, uniform from minus to plus this number, logarithms of uniform numbers between two; or made of
 * standard normal numbers, each list of which belongs to the name of a parameter that stands beside this one, so that two of them may begin as the same.
 */
export type Initial =
  | "zeros"
  | "ones"
  | { readonly normal: number }
  | { readonly uniform: number }
  | { readonly logUniform: { readonly low: number; readonly high: number } }
  | { readonly made: (normal: (sibling: string, n: number) => Float32Array) => Float32Array<ArrayBuffer> }

export interface ParameterSpec {
  /** Key in the checkpoint. */
  readonly name: string
  readonly shape: Shape
  readonly initial: Initial
  /**
   * How it lies in memory. Left out: as f32, like all that is trained. In NF4 (tensor/nf4.ts) bytes lie under its name, and the magnitudes of blocks beside: 4.5 bits an element as `nf4`, which is blocks of 64
   * without double quantisation.
   */
  readonly storage?: DType | "nf4" | Nf4Layout
  /** False: never trained. Left out, or true: a training decides. True stays so in a model of which all else is never trained. */
  readonly trained?: boolean
  /** Multiplies the learning rate. Left out: 1. */
  readonly rateFactor?: number
}

/** How a parameter lies in NF4; undefined where it does not. */
export const nf4Layout = ({ storage }: Pick<ParameterSpec, "storage">): Nf4Layout | undefined =>
  storage === "nf4" ? plainNf4 : typeof storage === "object" ? storage : undefined

/** Parameters that no training changes. */
export const untrained = (specs: ReadonlyArray<ParameterSpec>): ReadonlyArray<ParameterSpec> =>
  specs.map(spec => ({ ...spec, trained: false }))

/** Of a parameter in NF4, the magnitudes of its blocks; with double quantisation their indices, beside which lie their own magnitudes and their mean. */
export const absmaxName = (name: string): string => `${name}.absmax`
export const nestedAbsmaxName = (name: string): string => `${name}.nested_absmax`
export const nestedOffsetName = (name: string): string => `${name}.nested_offset`

/** The tensors in which a parameter lies. */
const storedAs = (
  spec: ParameterSpec
): ReadonlyArray<{
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
}> => {
  const { name, shape, storage = "f32" } = spec
  const layout = nf4Layout(spec)
  if (layout === undefined) return [{ name, dtype: storage as DType, shape }]
  const n = elements(shape)
  const blocks = Math.ceil(n / layout.blockSize)
  const packed = { name, dtype: "u8", shape: [Math.ceil(n / 2)] } as const
  if (!layout.doubleQuant) return [packed, { name: absmaxName(name), dtype: "f32", shape: [blocks] }]
  return [
    packed,
    { name: absmaxName(name), dtype: "u8", shape: [blocks] },
    { name: nestedAbsmaxName(name), dtype: "f32", shape: [Math.ceil(blocks / nestedBlockSize)] },
    { name: nestedOffsetName(name), dtype: "f32", shape: [] }
  ]
}

/** Bytes that parameters take on an engine. */
export const storedBytes = (specs: ReadonlyArray<ParameterSpec>): number =>
  specs.flatMap(storedAs).reduce((sum, { dtype, shape }) => sum + elements(shape) * bytesPerElement[dtype], 0)

/** The value of a parameter, by its name. */
export type Parameter = (name: string) => Tensor

/** Something with parameters, and what they make of it. Names count from where it stands. */
export interface Part<F> {
  readonly specs: ReadonlyArray<ParameterSpec>
  readonly make: (parameter: Parameter) => F
}

/** Several parts as one, their parameters in this order. */
export const together = <Parts extends { readonly [name: string]: Part<unknown> }>(
  parts: Parts
): Part<{ readonly [name in keyof Parts]: ReturnType<Exclude<Parts[name], undefined>["make"]> }> => ({
  specs: Object.values(parts).flatMap(({ specs }) => specs),
  make: parameter =>
    Object.fromEntries(Object.entries(parts).map(([name, { make }]) => [name, make(parameter)])) as {
      readonly [name in keyof Parts]: ReturnType<Exclude<Parts[name], undefined>["make"]>
    }
})

/** A part that stands somewhere: its names begin with `prefix`. */
export const within = <F>(prefix: string, { make, specs }: Part<F>): Part<F> => ({
  specs: specs.map(spec => ({ ...spec, name: `${prefix}${spec.name}` })),
  make: parameter => make(name => parameter(`${prefix}${name}`))
})

/** The parameters as inputs of a program, under their own names. */
export const parameterInputs = (specs: ReadonlyArray<ParameterSpec>): Parameter => {
  const inputs = new Map(specs.flatMap(storedAs).map(({ dtype, name, shape }) => [name, input(name, dtype, shape)]))
  return name => {
    const found = inputs.get(name)
    if (found === undefined)
      throw new Error(`there is no parameter ${name}; there are ${[...inputs.keys()].join(", ")}`)
    return found
  }
}

export const countElements = (specs: ReadonlyArray<{ readonly shape: Shape }>): number =>
  specs.reduce((sum, { shape }) => sum + elements(shape), 0)

/** Parameters by name. Those in f32 lie in one flat buffer, in the order of their specs; all else has buffers of its own. */
export interface ParameterBuffers {
  readonly specs: ReadonlyArray<ParameterSpec>
  /** f32 [n]. */
  readonly flat: Buffer
  readonly views: { readonly [name: string]: Buffer }
}

export const allocateParameters = (
  engine: Engine,
  specs: ReadonlyArray<ParameterSpec>
): Effect.Effect<ParameterBuffers, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const isFlat = ({ storage = "f32" }: ParameterSpec): boolean => storage === "f32"
    const flat = yield* engine.allocate("f32", [countElements(specs.filter(isFlat))])
    const views: { [name: string]: Buffer } = {}
    let offset = 0
    for (const spec of specs)
      if (isFlat(spec)) {
        views[spec.name] = yield* engine.view(flat, offset, spec.shape)
        offset += elements(spec.shape)
      } else for (const { dtype, name, shape } of storedAs(spec)) views[name] = yield* engine.allocate(dtype, shape)
    return { specs, flat, views }
  })

/** Fresh values of a parameter: they depend on the seed and its name alone, so that models that share parameters share their start. */
export const initialValues = ({ initial, name, shape }: ParameterSpec, seed: number): Float32Array<ArrayBuffer> => {
  const n = elements(shape)
  if (initial === "zeros") return new Float32Array(n)
  if (initial === "ones") return new Float32Array(n).fill(1)
  const keyOf = (parameter: string) => randomKey(seed, `initial value of ${parameter}`)
  if ("made" in initial) {
    const above = name.slice(0, name.lastIndexOf(".") + 1)
    return initial.made((sibling, count) => normals(keyOf(`${above}${sibling}`), count))
  }
  const key = keyOf(name)
  if ("normal" in initial) return normals(key, n).map(x => x * initial.normal)
  if ("uniform" in initial) return uniforms(key, n).map(x => (2 * x - 1) * initial.uniform)
  const { high, low } = initial.logUniform
  return uniforms(key, n).map(x => Math.log(low + (high - low) * x))
}

/** Brings all of a parameter's elements to where it lies. */
export const fill = (
  engine: Engine,
  spec: ParameterSpec,
  views: ParameterBuffers["views"],
  values: Float32Array
): Effect.Effect<void, EngineError> => {
  const layout = nf4Layout(spec)
  return layout === undefined
    ? engine.upload(views[spec.name]!, values)
    : fillNf4(engine, spec.name, views, nf4Content(values, layout))
}

/** Brings a parameter in NF4 to where it lies, as it is. */
export const fillNf4 = (
  engine: Engine,
  name: string,
  views: ParameterBuffers["views"],
  { absmax, packed }: Nf4Content
): Effect.Effect<void, EngineError> => {
  const magnitudes: ReadonlyArray<readonly [string, HostArray]> =
    absmax instanceof Float32Array
      ? [[absmaxName(name), absmax]]
      : [
          [absmaxName(name), absmax.indices],
          [nestedAbsmaxName(name), absmax.nestedAbsmax],
          [nestedOffsetName(name), Float32Array.of(absmax.offset)]
        ]
  return Effect.forEach([[name, packed] as const, ...magnitudes], ([part, data]) => engine.upload(views[part]!, data), {
    discard: true
  })
}

/** What lies in NF4 on an engine. */
export const downloadNf4 = (
  engine: Engine,
  name: string,
  { doubleQuant }: Nf4Layout,
  views: ParameterBuffers["views"]
): Effect.Effect<Nf4Content, EngineError> =>
  Effect.gen(function* () {
    const packed = (yield* engine.download(views[name]!)) as Uint8Array
    const absmax = yield* engine.download(views[absmaxName(name)]!)
    if (!doubleQuant) return { packed, absmax: absmax as Float32Array }
    const nestedAbsmax = (yield* engine.download(views[nestedAbsmaxName(name)]!)) as Float32Array
    const [offset] = (yield* engine.download(views[nestedOffsetName(name)]!)) as Float32Array
    return { packed, absmax: { indices: absmax as Uint8Array, nestedAbsmax, offset: offset! } }
  })

export const initialise = (
  engine: Engine,
  { specs, views }: ParameterBuffers,
  seed: number
): Effect.Effect<void, EngineError> =>
  Effect.forEach(specs, spec => fill(engine, spec, views, initialValues(spec, seed)), { discard: true })
