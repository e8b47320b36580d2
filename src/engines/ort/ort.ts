/** ONNX Runtime in a thread of its own: on the processor, the engine of the product, or on a GPU by its WebGPU provider. */
import { createHash } from "node:crypto"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import { Effect, type Scope } from "effect"
import type { Program, ValueId } from "../../tensor/Program.ts"
import { alone, type Engine, EngineError } from "../Engine.ts"
import { deviceElements, type EngineName, numericClass } from "../names.ts"
import { remoteEngine, Waiting } from "../remote.ts"
import { withoutAdapter } from "./adapter.ts"
import { mayOverwrite } from "./inPlace.ts"
import { kernelOf } from "./kernel.ts"
import { disableTelemetry } from "./library.ts"
import { borderType, lowerSegment } from "./lower.ts"
import { encodeModel } from "./onnx.ts"
import {
  type Device,
  type Envelope,
  type Place,
  type Port,
  type Reply,
  type Request,
  type SegmentPlan,
  type Transfers,
  webgpuOpset
} from "./protocol.ts"
import { segmentsOf } from "./segments.ts"

export interface OrtOptions {
  /** Threads of one operator; all processors by default. */
  readonly threads?: number
  /** Default: the processor. */
  readonly device?: Device
}

export interface StartedOrt {
  readonly engine: Engine
  /** All zeros on the processor: its tensors lie on the host. */
  readonly transfers: Effect.Effect<Transfers, EngineError>
}

/** Beside this file in a checkout, an entry of its own in the built program. */
const workerUrl = (moduleUrl: string): URL =>
  new URL(moduleUrl.endsWith(".ts") ? "./worker.ts" : "./ortWorker.js", moduleUrl)

const names: { readonly [D in Device]: EngineName } = { cpu: "ort", webgpu: "webgpu" }

/** Starts the engine; closing the scope ends its thread and frees everything that it holds. */
export const makeOrt = (options: OrtOptions = {}): Effect.Effect<Engine, EngineError, Scope.Scope> =>
  Effect.map(startOrt(options), ({ engine }) => engine)

/** As `makeOrt`, with a look at what goes between host and device. */
export const startOrt = ({ device = "cpu", threads = availableParallelism() }: OrtOptions = {}): Effect.Effect<
  StartedOrt,
  EngineError,
  Scope.Scope
> =>
  Effect.gen(function* () {
    if (device === "webgpu") yield* takeDevice
    const thread = yield* Effect.acquireRelease(
      Effect.sync(() => new Thread(device, threads)),
      ({ end }) => end
    )
    if (device === "webgpu")
      yield* Effect.mapError(thread.ask({ kind: "start" }), ({ message }) => thread.failed(withoutAdapter(message)))
    return {
      engine: engineOn(thread),
      transfers: Effect.map(
        thread.ask({ kind: "transfers" }),
        bytes => JSON.parse(new TextDecoder().decode(bytes)) as Transfers
      )
    }
  })

let taken = false
/** Threads of one process would use the same device at once, which ONNX Runtime does not guard: commands of both get mixed up. */
const takeDevice = Effect.acquireRelease(
  Effect.suspend(() => {
    if (taken)
      return Effect.fail(
        new EngineError({ engine: "webgpu", message: "another engine of this process has the device; close it first" })
      )
    taken = true
    return Effect.void
  }),
  () => Effect.sync(() => void (taken = false))
)

/** The thread, as a function from requests to answers. */
class Thread {
  readonly device: Device
  readonly #worker: Worker
  readonly #waiting = new Waiting<Uint8Array | undefined>(() => this.#worker.unref())

  constructor(device: Device, threads: number) {
    this.device = device
    disableTelemetry()
    this.#worker = new Worker(workerUrl(import.meta.url), { workerData: { device, threads } })
    this.#worker.unref()
    this.#worker.on("message", (reply: Reply) =>
      this.#waiting.answer(reply.id, reply.ok ? Effect.succeed(reply.data) : Effect.fail(this.failed(reply.message)))
    )
    this.#worker.on("error", cause =>
      this.#waiting.end(this.failed(`its thread failed: ${cause instanceof Error ? cause.message : String(cause)}`))
    )
    this.#worker.on("exit", code => this.#waiting.end(this.failed(`its thread ended with code ${code}`)))
  }

  readonly failed = (message: string): EngineError => new EngineError({ engine: names[this.device], message })

  readonly ask = (
    request: Request,
    payload?: Uint8Array<ArrayBuffer>
  ): Effect.Effect<Uint8Array | undefined, EngineError> =>
    this.#waiting.ask(id => {
      this.#worker.ref()
      const envelope: Envelope = payload === undefined ? { id, request } : { id, request, payload }
      this.#worker.postMessage(envelope, payload === undefined ? [] : [payload.buffer])
    })

  /**
   * Everything is given back first, by the thread itself, behind all that it was asked before: ONNX Runtime aborts the process if its thread is ended while it computes, for it cannot hand the result over.
   */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    const closed = Effect.ignore(this.ask({ kind: "close" }))
    return Effect.andThen(
      closed,
      Effect.promise(async () => {
        this.#waiting.end(this.failed("the engine was closed"))
        await this.#worker.terminate()
      })
    )
  })
}

const engineOn = (thread: Thread): Engine =>
  remoteEngine({
    name: names[thread.device],
    numericClass: numericClass(names[thread.device]),
    world: alone,
    // On the processor, kernels (kernel.ts) take what they are given; calls are few this way.
    chunk: deviceElements,
    ask: thread.ask,
    compile: (id, program, { sparing = false }) =>
      Effect.gen(function* () {
        const request = yield* Effect.try({
          try: () => compileRequest(id, program, thread.device, sparing),
          catch: cause =>
            thread.failed(
              `the program cannot be written as ONNX: ${cause instanceof Error ? cause.message : String(cause)}`
            )
        })
        yield* thread.ask(request)
      }),
    overwriting: (program, { inPlace = {} }) =>
      program.outputs.flatMap(({ name }, at) =>
        inPlace[name] !== undefined && mayOverwrite(program, name, inPlace[name]) ? [at] : []
      )
  })

/** The program as a kernel, or as models, and how values travel between its buffers and its segments. */
const compileRequest = (
  executable: number,
  program: Program,
  device: Device,
  sparing: boolean
): Extract<Request, { readonly kind: "compile" }> => {
  const portOf = ({ dtype, shape }: Program["values"][number]): Port => ({
    dtype,
    type: borderType(dtype, device),
    shape
  })
  const ends = {
    inputs: program.inputs.map(({ value }) => portOf(program.values[value]!)),
    outputs: program.outputs.map(({ value }) => portOf(program.values[value]!))
  }
  const kernel = device === "cpu" ? kernelOf(program) : undefined
  if (kernel !== undefined)
    return {
      kind: "compile",
      executable,
      kernel,
      models: [],
      sparing,
      segments: [],
      ...ends,
      copies: [],
      constants: []
    }
  const { outputs, segments } = segmentsOf(program)
  const ports = new Map(program.inputs.map(({ value }, port) => [value, port]))
  const constants = new Map(program.constants.map(({ data, value }) => [value, data]))
  const models = new Map<string, Uint8Array>()
  const lastUse = new Map<ValueId, number>()
  for (const [i, { inputs }] of segments.entries()) for (const value of inputs) lastUse.set(value, i)
  const plans = segments.map((segment, i): SegmentPlan => {
    const model = lowerSegment(program, segment, device)
    const bytes = device === "cpu" ? encodeModel(model) : encodeModel(model, webgpuOpset)
    const digest = `${createHash("sha256").update(bytes).digest("hex")}${sparing ? " sparing" : ""}`
    models.set(digest, bytes)
    return {
      model: digest,
      inputs: segment.inputs.map((value, at) => {
        const port = ports.get(value)
        const from: Place = port === undefined ? { crossing: value } : { port }
        return { name: model.inputs[at]!.name, from }
      }),
      outputs: segment.outputs.map((value, at) => ({
        name: model.outputs[at]!.name,
        to: [
          ...outputs.flatMap((output, port): ReadonlyArray<Place> => (output.value === value ? [{ port }] : [])),
          ...((lastUse.get(value) ?? -1) > i ? [{ crossing: value }] : [])
        ]
      })),
      done: segment.inputs.filter(value => !ports.has(value) && lastUse.get(value) === i)
    }
  })
  return {
    kind: "compile",
    executable,
    models: [...models].map(([digest, bytes]) => ({ digest, bytes })),
    sparing,
    segments: plans,
    ...ends,
    copies: outputs.flatMap(({ value }, output) => {
      const input = ports.get(value)
      return input === undefined ? [] : [{ output, input }]
    }),
    constants: outputs.flatMap(({ value }, output) => {
      const data = constants.get(value)
      return data === undefined
        ? []
        : [{ output, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }]
    })
  }
}
