/** A program with memory of its own: what it is given is uploaded, it runs, and what it computes is downloaded. */
import { Effect, type Scope } from "effect"
import type { DType, HostArray } from "../tensor/dtype.ts"
import { matmulFlops } from "../tensor/flops.ts"
import { input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Shape, Tensor } from "../tensor/Tensor.ts"
import type { Buffer, Buffers, Engine, EngineError } from "./Engine.ts"

/** Inputs by name, each made once: what a program reads may be asked for again and again. */
export const inputsOf = (
  known: (name: string) => { readonly dtype: DType; readonly shape: Shape }
): ((name: string) => Tensor) => {
  const made = new Map<string, Tensor>()
  return name => {
    const { dtype, shape } = known(name)
    const tensor = made.get(name) ?? input(name, dtype, shape)
    made.set(name, tensor)
    return tensor
  }
}

/** Parameters as inputs of a program, under their names. */
export const parameterInputs = (parameters: Buffers): ((name: string) => Tensor) =>
  inputsOf(name => {
    const buffer = parameters[name]
    if (buffer === undefined) throw new Error(`there is no parameter ${name}`)
    return buffer
  })

export interface Prepared {
  /** Data by name to results by name. */
  readonly run: (data: {
    readonly [name: string]: HostArray
  }) => Effect.Effect<{ readonly [name: string]: Float32Array }, EngineError>
  /** Floating-point operations of the matrix products of a run. */
  readonly flops: number
}

/** Compiles what computes some f32 tensors. Inputs that have the name of a parameter read its buffer, all others are data. */
export const prepare = (
  engine: Engine,
  outputs: { readonly [name: string]: Tensor },
  parameters: Buffers
): Effect.Effect<Prepared, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const program = makeProgram(outputs)
    const executable = yield* engine.compile(program)
    const data: { [name: string]: Buffer } = {}
    const inputs: { [name: string]: Buffer } = {}
    for (const { name, value } of program.inputs) {
      const { dtype, shape } = program.values[value]!
      inputs[name] = parameters[name] ?? (data[name] = yield* engine.allocate(dtype, shape))
    }
    const results: { [name: string]: Buffer } = {}
    for (const { name, value } of program.outputs)
      results[name] = yield* engine.allocate("f32", program.values[value]!.shape)
    const call = yield* engine.bind(executable, inputs, results)
    const run: Prepared["run"] = given =>
      Effect.gen(function* () {
        for (const [name, buffer] of Object.entries(data)) {
          const values = given[name]
          if (values === undefined) return yield* Effect.die(new Error(`the program reads ${name}, which is not given`))
          yield* engine.upload(buffer, values)
        }
        yield* engine.run([call])
        const made: { [name: string]: Float32Array } = {}
        for (const [name, buffer] of Object.entries(results))
          made[name] = (yield* engine.download(buffer)) as Float32Array
        return made
      })
    return { run, flops: matmulFlops(program) }
  })
