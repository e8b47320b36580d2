/** Parameters of any model: what there is, fresh values, and where they live on an engine. */
import { Effect, type Scope } from "effect"
import type { Buffer, Engine, EngineError } from "../engines/Engine.ts"
import type { DType } from "../tensor/dtype.ts"
import { nf4BlockSize, quantiseNf4 } from "../tensor/nf4.ts"
import { input } from "../tensor/ops.ts"
import { normals, randomKey, uniforms } from "../tensor/random.ts"
import { elements, type Shape, type Tensor } from "../tensor/Tensor.ts"

/** Fresh values: all 0, all 1, normal with mean 0 and this standard deviation, or logarithms of uniform numbers between two. */
export type Initial =
  | "zeros"
  | "ones"
  | { readonly normal: number }
  | { readonly logUniform: { readonly low: number; readonly high: number } }

export interface ParameterSpec {
  /** Key in the checkpoint. */
  readonly name: string
  readonly shape: Shape
  readonly initial: Initial
  /** How it lies in memory. Left out: as f32, like all that is trained. `nf4` is 4.5 bits an element (tensor/nf4.ts): bytes under its name, and the magnitudes of blocks beside. */
  readonly storage?: DType | "nf4"
  /** False: never trained. Left out: a training decides. */
  readonly trained?: boolean
}

/** Parameters that no training changes. */
export const untrained = (specs: ReadonlyArray<ParameterSpec>): ReadonlyArray<ParameterSpec> =>
  specs.map(spec => ({ ...spec, trained: false }))

/** Of a parameter in NF4, the magnitudes of its blocks. */
export const absmaxName = (name: string): string => `${name}.absmax`

/** The tensors in which a parameter lies. */
const storedAs = ({
  name,
  shape,
  storage = "f32"
}: ParameterSpec): ReadonlyArray<{
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
}> => {
  if (storage !== "nf4") return [{ name, dtype: storage, shape }]
  const n = elements(shape)
  return [
    { name, dtype: "u8", shape: [Math.ceil(n / 2)] },
    { name: absmaxName(name), dtype: "f32", shape: [Math.ceil(n / nf4BlockSize)] }
  ]
}

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
  const key = randomKey(seed, `initial value of ${name}`)
  if ("normal" in initial) return normals(key, n).map(x => x * initial.normal)
  const { high, low } = initial.logUniform
  return uniforms(key, n).map(x => Math.log(low + (high - low) * x))
}

/** Brings all of a parameter's elements to where it lies. */
export const fill = (
  engine: Engine,
  { name, storage }: ParameterSpec,
  views: ParameterBuffers["views"],
  values: Float32Array
): Effect.Effect<void, EngineError> => {
  if (storage !== "nf4") return engine.upload(views[name]!, values)
  const { absmax, packed } = quantiseNf4(values)
  return Effect.andThen(engine.upload(views[name]!, packed), engine.upload(views[absmaxName(name)]!, absmax))
}

export const initialise = (
  engine: Engine,
  { specs, views }: ParameterBuffers,
  seed: number
): Effect.Effect<void, EngineError> =>
  Effect.forEach(specs, spec => fill(engine, spec, views, initialValues(spec, seed)), { discard: true })
