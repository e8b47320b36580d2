/** The engine of the product: ONNX Runtime on the processor, in a thread of its own. */
import { createHash } from "node:crypto"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import { Effect, type Scope } from "effect"
import type { Program, ValueId } from "../../tensor/Program.ts"
import { type Engine, EngineError } from "../Engine.ts"
import { numericClass } from "../names.ts"
import { remoteEngine } from "../remote.ts"
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
    payload?: Uint8Array<ArrayBuffer>
  ): Effect.Effect<Uint8Array | undefined, EngineError> =>
    Effect.callback(resume => {
      if (this.#dead !== undefined) return resume(Effect.fail(this.#dead))
      const id = ++this.#lastId
      this.#waiting.set(id, resume)
      this.#worker.ref()
      const envelope: Envelope = payload === undefined ? { id, request } : { id, request, payload }
      this.#worker.postMessage(envelope, payload === undefined ? [] : [payload.buffer])
    })

  readonly end: Effect.Effect<void> = Effect.promise(async () => {
    this.#dead ??= failed("the engine was closed")
    await this.#worker.terminate()
  })
}

const engineOn = (thread: Thread): Engine =>
  remoteEngine({
    name: "ort",
    numericClass: numericClass("ort"),
    ask: thread.ask,
    compile: (id, program) =>
      Effect.gen(function* () {
        const request = yield* Effect.try({
          try: () => compileRequest(id, program),
          catch: cause =>
            failed(`the program cannot be written as ONNX: ${cause instanceof Error ? cause.message : String(cause)}`)
        })
        yield* thread.ask(request)
      }),
    overwriting: (program, { inPlace = {} }) =>
      program.outputs.flatMap(({ name }, at) =>
        inPlace[name] !== undefined && mayOverwrite(program, name, inPlace[name]) ? [at] : []
      )
  })

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
    }),
    constants: outputs.flatMap(({ value }, output) => {
      const data = constants.get(value)
      return data === undefined
        ? []
        : [{ output, bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }]
    })
  }
}
