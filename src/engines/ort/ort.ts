/** The engine of the product: ONNX Runtime on the processor, in a thread of its own. */
import { createHash } from "node:crypto"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import { Effect, type Scope } from "effect"
import { bytesPerElement, hostArray, hostView, type HostArray } from "../../tensor/dtype.ts"
import type { Program, ValueId } from "../../tensor/Program.ts"
import { elements, shapeText, type Shape } from "../../tensor/Tensor.ts"
import { checkBinding } from "../binding.ts"
import { type Buffer as EngineBuffer, type Call, type Engine, EngineError, type Executable } from "../Engine.ts"
import { numericClass } from "../names.ts"
import { mayOverwrite } from "./inPlace.ts"
import { borderType, lowerSegment } from "./lower.ts"
import { encodeModel } from "./onnx.ts"
import type { Envelope, Place, Port, Reply, Request, SegmentPlan } from "./protocol.ts"
import { segmentsOf } from "./segments.ts"

export interface OrtOptions {
  /** Threads of one operator; all processors by default. */
  readonly threads?: number
}

/** Beside this file in a checkout, an entry of its own in the built program. */
const workerUrl = (moduleUrl: string): URL =>
  new URL(moduleUrl.endsWith(".ts") ? "./worker.ts" : "./ortWorker.js", moduleUrl)

const failed = (message: string): EngineError => new EngineError({ engine: "ort", message })

/** Starts the engine; closing the scope ends its thread and frees everything that it holds. */
export const makeOrt = ({ threads = availableParallelism() }: OrtOptions = {}): Effect.Effect<
  Engine,
  EngineError,
  Scope.Scope
> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Thread(threads)),
      thread => thread.end
    ),
    engineOn
  )

/** The thread, as a function from requests to answers. */
class Thread {
  readonly #worker: Worker
  readonly #waiting = new Map<number, (reply: Effect.Effect<Uint8Array | undefined, EngineError>) => void>()
  #lastId = 0
  #dead: EngineError | undefined

  constructor(threads: number) {
    this.#worker = new Worker(workerUrl(import.meta.url), { workerData: { threads } })
    this.#worker.unref()
    this.#worker.on("message", (reply: Reply) => {
      const resume = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (this.#waiting.size === 0) this.#worker.unref()
      resume?.(reply.ok ? Effect.succeed(reply.data) : Effect.fail(failed(reply.message)))
    })
    this.#worker.on("error", cause =>
      this.#die(failed(`its thread failed: ${cause instanceof Error ? cause.message : String(cause)}`))
    )
    this.#worker.on("exit", code => this.#die(failed(`its thread ended with code ${code}`)))
  }

  #die(error: EngineError): void {
    this.#dead ??= error
    for (const resume of this.#waiting.values()) resume(Effect.fail(this.#dead))
    this.#waiting.clear()
  }

  readonly ask = (
    request: Request,
    transfer: ReadonlyArray<ArrayBuffer> = []
  ): Effect.Effect<Uint8Array | undefined, EngineError> =>
    Effect.callback(resume => {
      if (this.#dead !== undefined) return resume(Effect.fail(this.#dead))
      const id = ++this.#lastId
      this.#waiting.set(id, resume)
      this.#worker.ref()
      const envelope: Envelope = { id, request }
      this.#worker.postMessage(envelope, transfer)
    })

  readonly end: Effect.Effect<void> = Effect.promise(async () => {
    this.#dead ??= failed("the engine was closed")
    await this.#worker.terminate()
  })
}

const engineOn = (thread: Thread): Engine => {
  let lastId = 0
  const freed = (what: "buffer" | "call" | "executable", id: number): Effect.Effect<void> =>
    Effect.ignore(thread.ask({ kind: "free", what, id }))
  /** Which outputs of an executable may overwrite inputs, by place. */
  const overwriting = new Map<number, ReadonlyArray<number>>()

  const compile: Engine["compile"] = (program, { inPlace = {} } = {}) =>
    Effect.acquireRelease(
      Effect.gen(function* () {
        const id = ++lastId
        const request = yield* Effect.try({
          try: () => compileRequest(id, program),
          catch: cause =>
            failed(`the program cannot be written as ONNX: ${cause instanceof Error ? cause.message : String(cause)}`)
        })
        yield* thread.ask(request)
        overwriting.set(
          id,
          program.outputs.flatMap(({ name }, at) =>
            inPlace[name] !== undefined && mayOverwrite(program, name, inPlace[name]) ? [at] : []
          )
        )
        return { id, program } satisfies Executable
      }),
      ({ id }) => freed("executable", id)
    )

  const bind: Engine["bind"] = (executable, inputs, outputs) =>
    Effect.acquireRelease(
      Effect.gen(function* () {
        const { id: executableId, program } = executable
        yield* Effect.try({
          try: () => checkBinding("ort", program, inputs, outputs),
          catch: cause => cause as EngineError
        })
        const call = ++lastId
        yield* thread.ask({
          kind: "bind",
          call,
          executable: executableId,
          inputs: program.inputs.map(({ name }) => inputs[name]!.id),
          outputs: program.outputs.map(({ name }) => outputs[name]!.id),
          inPlace: overwriting.get(executableId) ?? []
        })
        return { id: call, executable } satisfies Call
      }),
      ({ id }) => freed("call", id)
    )

  const view = (buffer: EngineBuffer, offset: number, shape: Shape): Effect.Effect<EngineBuffer, EngineError> => {
    const size = elements(shape)
    if (!Number.isInteger(offset) || offset < 0 || offset + size > elements(buffer.shape))
      return Effect.fail(
        failed(
          `a view of ${size} elements from ${offset} on does not lie within ${buffer.dtype} ${shapeText(buffer.shape)}`
        )
      )
    const id = ++lastId
    return Effect.as(thread.ask({ kind: "view", buffer: id, of: buffer.id, offset, size }), {
      id,
      dtype: buffer.dtype,
      shape
    })
  }

  return {
    name: "ort",
    numericClass: numericClass("ort"),
    compile,
    bind,
    view,
    allocate: (dtype, shape) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const id = ++lastId
          return Effect.as(thread.ask({ kind: "allocate", buffer: id, dtype, size: elements(shape) }), {
            id,
            dtype,
            shape
          })
        }),
        ({ id }) => freed("buffer", id)
      ),
    run: calls => Effect.asVoid(thread.ask({ kind: "run", calls: calls.map(({ id }) => id) })),
    upload: (buffer, data) => {
      const size = elements(buffer.shape)
      if (data.constructor !== hostArray(buffer.dtype, 0).constructor || data.length !== size)
        return Effect.fail(
          failed(
            `upload to ${buffer.dtype} ${shapeText(buffer.shape)} needs ${size} elements in ${hostArray(buffer.dtype, 0).constructor.name}, got ${data.length} in ${data.constructor.name}`
          )
        )
      // The copy is handed over, so that the caller's array stays its own and the thread copies only once.
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice()
      return Effect.asVoid(thread.ask({ kind: "upload", buffer: buffer.id, data: bytes }, [bytes.buffer]))
    },
    download: ({ dtype, id, shape }) =>
      Effect.map(thread.ask({ kind: "download", buffer: id }), (bytes): HostArray =>
        hostView(dtype, bytes!.buffer as ArrayBuffer, 0, bytes!.byteLength / bytesPerElement[dtype])
      ).pipe(
        Effect.tap(data =>
          data.length === elements(shape) ? Effect.void : Effect.fail(failed("a download was cut off"))
        )
      )
  }
}

const portOf = ({ dtype, shape }: Program["values"][number]): Port => ({ dtype, type: borderType(dtype), shape })

/** The program as models, and how values travel between its buffers and its segments. */
const compileRequest = (executable: number, program: Program): Extract<Request, { readonly kind: "compile" }> => {
  const { outputs, segments } = segmentsOf(program)
  const ports = new Map(program.inputs.map(({ value }, port) => [value, port]))
  const constants = new Map(program.constants.map(({ data, value }) => [value, data]))
  const models = new Map<string, Uint8Array>()
  const lastUse = new Map<ValueId, number>()
  for (const [i, { inputs }] of segments.entries()) for (const value of inputs) lastUse.set(value, i)
  const plans = segments.map((segment, i): SegmentPlan => {
    const lowered = lowerSegment(program, segment)
    const bytes = encodeModel(lowered.model)
    const digest = createHash("sha256").update(bytes).digest("hex")
    models.set(digest, bytes)
    return {
      model: digest,
      inputs: lowered.inputs.map((value, at) => {
        const port = ports.get(value)
        const from: Place = port === undefined ? { crossing: value } : { port }
        return { name: lowered.model.inputs[at]!.name, from }
      }),
      outputs: lowered.outputs.map((value, at) => ({
        name: lowered.model.outputs[at]!.name,
        to: [
          ...outputs.flatMap((output, port): ReadonlyArray<Place> => (output.value === value ? [{ port }] : [])),
          ...((lastUse.get(value) ?? -1) > i ? [{ crossing: value }] : [])
        ]
      })),
      done: lowered.inputs.filter(value => !ports.has(value) && lastUse.get(value) === i)
    }
  })
  const constant = outputs.find(({ value }) => constants.has(value))
  if (constant !== undefined) throw new Error(`the output ${constant.name} is a constant, which needs no engine`)
  return {
    kind: "compile",
    executable,
    models: [...models].map(([digest, bytes]) => ({ digest, bytes })),
    segments: plans,
    inputs: program.inputs.map(({ value }) => portOf(program.values[value]!)),
    outputs: program.outputs.map(({ value }) => portOf(program.values[value]!)),
    copies: outputs.flatMap(({ value }, output) => {
      const input = ports.get(value)
      return input === undefined ? [] : [{ output, input }]
    })
  }
}
