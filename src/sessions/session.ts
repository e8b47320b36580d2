/** A program on an engine, with memory of its own: what it is given is uploaded, it runs, and what it computes is downloaded. */
import { Effect, type Scope } from "effect"
import type { Buffer, Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { DType, HostArray } from "../tensor/dtype.ts"
import { matmulFlops } from "../tensor/flops.ts"
import { input } from "../tensor/ops.ts"
import { makeProgram } from "../tensor/Program.ts"
import type { Shape, Tensor } from "../tensor/Tensor.ts"

/** Inputs of a program by name: of parameters as they lie in buffers, or of data as a table describes it. */
export const inputsOf = <Name extends string>(known: {
  readonly [name in Name]: { readonly dtype: DType; readonly shape: Shape }
}): ((name: Name) => Tensor) => {
  const made = new Map<string, Tensor>()
  for (const name in known) made.set(name, input(name, known[name].dtype, known[name].shape))
  return name => {
    const found = made.get(name)
    if (found === undefined) throw new Error(`there is no parameter ${name}`)
    return found
  }
}

/** Arrays by the names of inputs. */
export interface Data {
  readonly [name: string]: HostArray
}

export interface Session<Name extends string> {
  /** Uploads the data, runs, and downloads what was computed. */
  readonly run: (data: Data) => Effect.Effect<{ readonly [name in Name]: Float32Array<ArrayBuffer> }, EngineError>
  /** The parts of `run`, for programs that are run many times before anything is looked at. What is not uploaded anew stays as it was. */
  readonly upload: (data: Data) => Effect.Effect<void, EngineError>
  readonly compute: (times?: number) => Effect.Effect<void, EngineError>
  /** Memory by name: of outputs, and of inputs that are the session's own. */
  readonly memory: Buffers
  /** Floating-point operations of the matrix products of a run. */
  readonly flops: number
}

/**
 * Compiles what computes some tensors; `run` downloads those in f32, all others stay where they are. Inputs that have the name of a buffer in `given` (parameters, caches) read it, all others
 * are data. `inPlace`: outputs that are written over an input, by its name; they are the program's state, and are not downloaded.
 */
export const makeSession = <Name extends string>(
  engine: Engine,
  outputs: { readonly [name in Name]: Tensor },
  given: Buffers,
  inPlace: { readonly [output: string]: string } = {}
): Effect.Effect<Session<Name>, EngineError, Scope.Scope> =>
  Effect.gen(function* () {
    const program = makeProgram(outputs)
    const executable = yield* engine.compile(program, { inPlace })
    const data: { [name: string]: Buffer } = {}
    const inputs: { [name: string]: Buffer } = {}
    for (const { name, value } of program.inputs) {
      const { dtype, shape } = program.values[value]!
      inputs[name] = given[name] ?? (data[name] = yield* engine.allocate(dtype, shape))
    }
    const results: { [name: string]: Buffer } = {}
    for (const { name, value } of program.outputs) {
      const { dtype, shape } = program.values[value]!
      results[name] = inputs[inPlace[name] ?? ""] ?? (yield* engine.allocate(dtype, shape))
    }
    const call = yield* engine.bind(executable, inputs, results)
    const missing = new Set(Object.keys(data))
    const upload: Session<Name>["upload"] = arrays =>
      Effect.gen(function* () {
        for (const [name, buffer] of Object.entries(data)) {
          const values = arrays[name]
          if (values === undefined) continue
          yield* engine.upload(buffer, values)
          missing.delete(name)
        }
      })
    const compute: Session<Name>["compute"] = (times = 1) =>
      Effect.suspend(() =>
        missing.size > 0
          ? Effect.die(new Error(`the program reads ${[...missing].join(", ")}, which was never given`))
          : engine.run(Array.from({ length: times }, () => call))
      )
    const downloaded = Object.entries(results).filter(
      ([name, { dtype }]) => dtype === "f32" && inPlace[name] === undefined
    )
    return {
      upload,
      compute,
      run: arrays =>
        Effect.gen(function* () {
          yield* upload(arrays)
          yield* compute()
          const made: { [name: string]: Float32Array<ArrayBuffer> } = {}
          for (const [name, buffer] of downloaded)
            made[name] = (yield* engine.download(buffer)) as Float32Array<ArrayBuffer>
          return made as { readonly [name in Name]: Float32Array<ArrayBuffer> }
        }),
      memory: { ...data, ...results },
      flops: matmulFlops(program)
    }
  })
