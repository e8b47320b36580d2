/**
 * The thread in which ONNX Runtime computes: its `run` blocks whoever calls it. Holds buffers and sessions; tensors are made once, when a
 * call is bound, over the buffers' own memory, so that nothing is copied between runs.
 */
import { parentPort, workerData } from "node:worker_threads"
import * as ort from "onnxruntime-node"
import { bytesPerElement, hostView, type DType } from "../../tensor/dtype.ts"
import { elements } from "../../tensor/Tensor.ts"
import type { OnnxType } from "./onnx.ts"
import type { Envelope, Place, Port, Reply, Request, SegmentPlan } from "./protocol.ts"

interface Memory {
  readonly dtype: DType
  readonly bytes: Uint8Array<ArrayBuffer>
}

interface Compiled extends Extract<Request, { readonly kind: "compile" }> {
  readonly sessions: ReadonlyArray<ort.InferenceSession>
}

interface Bound {
  readonly compiled: Compiled
  readonly steps: ReadonlyArray<{
    readonly session: ort.InferenceSession
    readonly plan: SegmentPlan
    readonly feeds: { readonly [name: string]: ort.Tensor }
    readonly fetches: { readonly [name: string]: ort.Tensor | null }
  }>
  readonly inputs: ReadonlyArray<Memory>
  readonly outputs: ReadonlyArray<Memory>
}

const { threads } = workerData as { readonly threads: number }

/** Names of element types as the runtime's interface has them, with the array that holds each. */
const tensorTypes = {
  f32: ["float32", Float32Array],
  u8: ["uint8", Uint8Array],
  u16: ["uint16", Uint16Array],
  i32: ["int32", Int32Array],
  i64: ["int64", BigInt64Array],
  bool: ["bool", Uint8Array],
  f16: ["float16", Uint16Array],
  bf16: ["uint16", Uint16Array]
} as const satisfies { readonly [T in OnnxType]: readonly [string, unknown] }

const memories = new Map<number, Memory>()
const executables = new Map<number, Compiled>()
const calls = new Map<number, Bound>()
/** Sessions by the digest of their model, with the number of executables that use them. */
const sessions = new Map<string, { readonly session: ort.InferenceSession; users: number }>()

/** It makes one FusedMatMul of a transpose and a product of an empty batch, on which that operator fails. */
const wrongOptimisers = "MatmulTransposeFusion"

const sessionOptions: ort.InferenceSession.SessionOptions = {
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  graphOptimizationLevel: "all",
  executionProviders: ["cpu"],
  logSeverityLevel: 3,
  extra: { optimization: { disable_specified_optimizers: wrongOptimisers } }
}

const need = <A>(map: ReadonlyMap<number, A>, id: number, what: string): A => {
  const found = map.get(id)
  if (found === undefined) throw new Error(`${what} ${id} was freed, or is not of this engine`)
  return found
}

const tensorOver = ({ bytes }: Memory, { shape, type }: Port): ort.Tensor => {
  const [name, TypedArray] = tensorTypes[type]
  const array = new TypedArray(bytes.buffer, bytes.byteOffset, bytes.byteLength / TypedArray.BYTES_PER_ELEMENT)
  return new ort.Tensor(name as "float32", array as Float32Array, shape)
}

const compile = async (request: Extract<Request, { readonly kind: "compile" }>): Promise<void> => {
  for (const { bytes, digest } of request.models)
    if (!sessions.has(digest))
      sessions.set(digest, { session: await ort.InferenceSession.create(bytes, sessionOptions), users: 0 })
  const used = request.segments.map(({ model }) => {
    const entry = sessions.get(model)!
    entry.users += 1
    return entry.session
  })
  executables.set(request.executable, { ...request, models: [], sessions: used })
}

const overlaps = (a: Memory, b: Memory): boolean =>
  a.bytes.buffer === b.bytes.buffer &&
  a.bytes.byteOffset < b.bytes.byteOffset + b.bytes.byteLength &&
  b.bytes.byteOffset < a.bytes.byteOffset + a.bytes.byteLength

const bind = ({ call, executable, inPlace, inputs, outputs }: Extract<Request, { readonly kind: "bind" }>): void => {
  const compiled = need(executables, executable, "executable")
  const inputMemories = inputs.map(id => need(memories, id, "buffer"))
  const outputMemories = outputs.map(id => need(memories, id, "buffer"))
  const portOf = (place: Place): number | undefined => ("port" in place ? place.port : undefined)
  const steps = compiled.segments.map((plan, i) => ({
    session: compiled.sessions[i]!,
    plan,
    feeds: Object.fromEntries(
      plan.inputs.flatMap(({ from, name }) => {
        const port = portOf(from)
        return port === undefined ? [] : [[name, tensorOver(inputMemories[port]!, compiled.inputs[port]!)]]
      })
    ),
    fetches: Object.fromEntries(
      plan.outputs.map(({ name, to }) => {
        const port = to.map(portOf).find(found => found !== undefined)
        if (port === undefined) return [name, null]
        const memory = outputMemories[port]!
        // Memory that is also read is written only after the run, unless the program is known to read it first.
        const read = inputMemories.some(other => overlaps(memory, other)) && !inPlace.includes(port)
        return [name, read || memory.bytes.length === 0 ? null : tensorOver(memory, compiled.outputs[port]!)]
      })
    )
  }))
  calls.set(call, { compiled, steps, inputs: inputMemories, outputs: outputMemories })
}

const bytesOf = (tensor: ort.Tensor): Uint8Array => {
  const data = tensor.data as Uint8Array
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

const run = async ({ compiled, inputs, outputs, steps }: Bound): Promise<void> => {
  const crossing = new Map<number, ort.Tensor>()
  const late: Array<readonly [Memory, Uint8Array]> = []
  for (const { feeds, fetches, plan, session } of steps) {
    const given: Record<string, ort.Tensor> = { ...feeds }
    for (const { from, name } of plan.inputs) if ("crossing" in from) given[name] = crossing.get(from.crossing)!
    const results = await session.run(given, fetches)
    for (const { name, to } of plan.outputs) {
      const result = results[name]!
      for (const place of to) {
        if ("crossing" in place) crossing.set(place.crossing, result)
        else {
          const memory = outputs[place.port]!
          const bytes = bytesOf(result)
          const there = bytes.buffer === memory.bytes.buffer && bytes.byteOffset === memory.bytes.byteOffset
          if (!there) late.push([memory, bytes])
        }
      }
    }
    for (const value of plan.done) crossing.delete(value)
  }
  const copies = compiled.copies.map(({ input, output }) => [outputs[output]!, inputs[input]!.bytes.slice()] as const)
  for (const [memory, bytes] of [...late, ...copies]) memory.bytes.set(bytes)
  for (const { bytes, output } of compiled.constants) outputs[output]!.bytes.set(bytes)
}

const free = async ({ target: id, what }: Extract<Request, { readonly kind: "free" }>): Promise<void> => {
  if (what === "buffer") memories.delete(id)
  if (what === "call") calls.delete(id)
  if (what !== "executable") return
  for (const { model } of executables.get(id)?.segments ?? []) {
    const entry = sessions.get(model)!
    entry.users -= 1
    if (entry.users > 0) continue
    sessions.delete(model)
    await entry.session.release()
  }
  executables.delete(id)
}

const answer = async (request: Request, payload: Uint8Array | undefined): Promise<Uint8Array | undefined> => {
  switch (request.kind) {
    case "compile":
      await compile(request)
      return undefined
    case "allocate":
      memories.set(request.buffer, {
        dtype: request.dtype,
        bytes: new Uint8Array(new ArrayBuffer(elements(request.shape) * bytesPerElement[request.dtype]))
      })
      return undefined
    case "view": {
      const { bytes, dtype } = need(memories, request.of, "buffer")
      const size = bytesPerElement[dtype]
      const view = hostView(
        "u8",
        bytes.buffer,
        bytes.byteOffset + request.offset * size,
        elements(request.shape) * size
      )
      memories.set(request.buffer, { dtype, bytes: view as Uint8Array<ArrayBuffer> })
      return undefined
    }
    case "bind":
      bind(request)
      return undefined
    case "run":
      for (const call of request.calls) await run(need(calls, call, "call"))
      return undefined
    case "upload":
      need(memories, request.buffer, "buffer").bytes.set(payload!)
      return undefined
    case "download":
      return need(memories, request.buffer, "buffer").bytes.slice()
    case "free":
      await free(request)
      return undefined
  }
}

const handle = async ({ id, payload, request }: Envelope): Promise<void> => {
  let reply: Reply
  try {
    const data = await answer(request, payload)
    reply = data === undefined ? { id, ok: true } : { id, ok: true, data }
  } catch (cause) {
    reply = { id, ok: false, message: cause instanceof Error ? cause.message : String(cause) }
  }
  parentPort!.postMessage(reply, reply.ok && reply.data !== undefined ? [reply.data.buffer as ArrayBuffer] : [])
}

/** One request after the other, in the order in which they came. */
let last: Promise<void> = Promise.resolve()
parentPort!.on("message", (envelope: Envelope) => {
  const before = last
  last = (async () => {
    await before
    await handle(envelope)
  })()
})
