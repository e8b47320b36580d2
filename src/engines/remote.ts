/** Engines that compute in another thread or process: the interface as messages, which each of them carries in its own way. */
import { Effect } from "effect"
import { bytesPerElement, type DType, hostArray, type HostArray, hostView } from "../tensor/dtype.ts"
import type { Program } from "../tensor/Program.ts"
import { elements, type Shape, shapeText } from "../tensor/Tensor.ts"
import { checkBinding } from "./binding.ts"
import {
  type Buffer,
  type Call,
  type CompileOptions,
  type Engine,
  EngineError,
  type Executable,
  type FileFloats,
  type World
} from "./Engine.ts"

/** What is asked of the other side. Buffers, executables and calls are known by numbers that this side gives. */
export type RemoteRequest =
  | { readonly kind: "allocate"; readonly buffer: number; readonly dtype: DType; readonly shape: Shape }
  | {
      readonly kind: "view"
      readonly buffer: number
      readonly of: number
      /** In elements. */
      readonly offset: number
      readonly shape: Shape
    }
  | {
      readonly kind: "bind"
      readonly call: number
      readonly executable: number
      /** Buffers in the order of the program's inputs and outputs. */
      readonly inputs: ReadonlyArray<number>
      readonly outputs: ReadonlyArray<number>
      /** Places of outputs that may be written over inputs. */
      readonly inPlace: ReadonlyArray<number>
    }
  | { readonly kind: "run"; readonly calls: ReadonlyArray<number> }
  /** The elements are the payload. */
  | { readonly kind: "upload"; readonly buffer: number }
  /** The payload of the answer is the elements. */
  | { readonly kind: "download"; readonly buffer: number }
  | { readonly kind: "free"; readonly what: "buffer" | "call" | "executable"; readonly target: number }

/** Questions to the other side that wait for their answers. */
export class Waiting<A> {
  readonly #resume = new Map<number, (answer: Effect.Effect<A, EngineError>) => void>()
  #lastId = 0
  #dead: EngineError | undefined

  readonly #onIdle: () => void

  /** `onIdle` is called when nothing waits any more, before the last answer goes on: whoever gets it may ask again, or close. */
  constructor(onIdle: () => void = () => undefined) {
    this.#onIdle = onIdle
  }

  /** `send` is given a number, by which the answer comes back. */
  readonly ask = (send: (id: number) => void): Effect.Effect<A, EngineError> =>
    Effect.callback(resume => {
      if (this.#dead !== undefined) return resume(Effect.fail(this.#dead))
      const id = ++this.#lastId
      this.#resume.set(id, resume)
      send(id)
    })

  answer(id: number, answer: Effect.Effect<A, EngineError>): void {
    const resume = this.#resume.get(id)
    if (resume === undefined) return
    this.#resume.delete(id)
    if (this.#resume.size === 0) this.#onIdle()
    resume(answer)
  }

  /** Nobody answers any more: whatever waits fails, and all that is asked from now on. Returns the first reason. */
  end(error: EngineError): EngineError {
    this.#dead ??= error
    for (const id of this.#resume.keys()) this.answer(id, Effect.fail(this.#dead))
    return this.#dead
  }
}

export interface Remote {
  readonly name: string
  readonly numericClass: string
  readonly world: World
  readonly chunk: number
  /** The answer's payload. The payload of the request is handed over: nobody else uses it any more. */
  readonly ask: (
    request: RemoteRequest,
    payload?: Uint8Array<ArrayBuffer>
  ) => Effect.Effect<Uint8Array | undefined, EngineError>
  readonly compile: (executable: number, program: Program, options: CompileOptions) => Effect.Effect<void, EngineError>
  /** Fills a buffer, known by its number, from a file. */
  readonly load?: (buffer: number, file: FileFloats) => Effect.Effect<void, EngineError>
  /** Places of the program's outputs that may overwrite the inputs that were named; left out where results are computed before any buffer is written. */
  readonly overwriting?: (program: Program, options: CompileOptions) => ReadonlyArray<number>
}

export const remoteEngine = ({ ask, chunk, compile, load, name, numericClass, overwriting, world }: Remote): Engine => {
  let lastId = 0
  const failed = (message: string): EngineError => new EngineError({ engine: name, message })
  const freed = (what: "buffer" | "call" | "executable", target: number): Effect.Effect<void> =>
    Effect.ignore(ask({ kind: "free", what, target }))
  /** Which outputs of an executable may overwrite inputs. */
  const inPlaceOf = new Map<number, ReadonlyArray<number>>()

  return {
    name,
    numericClass,
    world,
    chunk,
    ...(load === undefined ? {} : { load: (buffer: Buffer, file: FileFloats) => load(buffer.id, file) }),
    compile: (program, options = {}) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const id = ++lastId
          inPlaceOf.set(id, overwriting?.(program, options) ?? [])
          return Effect.as(compile(id, program, options), { id, program } satisfies Executable)
        }),
        ({ id }) => freed("executable", id)
      ),
    bind: (executable, inputs, outputs) =>
      Effect.acquireRelease(
        Effect.gen(function* () {
          const { id: executableId, program } = executable
          yield* Effect.try({
            try: () => checkBinding(name, program, inputs, outputs),
            catch: cause => cause as EngineError
          })
          const call = ++lastId
          yield* ask({
            kind: "bind",
            call,
            executable: executableId,
            inputs: program.inputs.map(port => inputs[port.name]!.id),
            outputs: program.outputs.map(port => outputs[port.name]!.id),
            inPlace: inPlaceOf.get(executableId) ?? []
          })
          return { id: call, executable } satisfies Call
        }),
        ({ id }) => freed("call", id)
      ),
    view: (buffer: Buffer, offset: number, shape: Shape) => {
      const size = elements(shape)
      if (!Number.isInteger(offset) || offset < 0 || offset + size > elements(buffer.shape))
        return Effect.fail(
          failed(
            `a view of ${size} elements from ${offset} on does not lie within ${buffer.dtype} ${shapeText(buffer.shape)}`
          )
        )
      const id = ++lastId
      return Effect.as(ask({ kind: "view", buffer: id, of: buffer.id, offset, shape }), {
        id,
        dtype: buffer.dtype,
        shape
      })
    },
    allocate: (dtype, shape) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const id = ++lastId
          return Effect.as(ask({ kind: "allocate", buffer: id, dtype, shape }), { id, dtype, shape })
        }),
        ({ id }) => freed("buffer", id)
      ),
    run: calls => Effect.asVoid(ask({ kind: "run", calls: calls.map(({ id }) => id) })),
    upload: (buffer, data) => {
      const size = elements(buffer.shape)
      if (data.constructor !== hostArray(buffer.dtype, 0).constructor || data.length !== size)
        return Effect.fail(
          failed(
            `upload to ${buffer.dtype} ${shapeText(buffer.shape)} needs ${size} elements in ${hostArray(buffer.dtype, 0).constructor.name}, got ${data.length} in ${data.constructor.name}`
          )
        )
      // A copy, so that the caller's array stays its own.
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
      return Effect.asVoid(ask({ kind: "upload", buffer: buffer.id }, bytes))
    },
    download: ({ dtype, id, shape }) =>
      Effect.flatMap(ask({ kind: "download", buffer: id }), bytes => {
        const size = elements(shape)
        if (bytes?.byteLength !== size * bytesPerElement[dtype]) return Effect.fail(failed("a download was cut off"))
        const own = bytes.byteOffset === 0 ? bytes : bytes.slice()
        return Effect.succeed<HostArray>(hostView(dtype, own.buffer as ArrayBuffer, 0, size))
      })
  }
}
