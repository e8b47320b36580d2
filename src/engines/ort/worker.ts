/** The thread in which ONNX Runtime computes: its `run` blocks whoever calls it. Answers one request after the other. */
import { parentPort, workerData } from "node:worker_threads"
import { deviceMemories } from "./deviceMemories.ts"
import { hostMemories } from "./hostMemories.ts"
import { need } from "../handles.ts"
import type { Compiled } from "./memories.ts"
import type { Device, Envelope, Reply, Request } from "./protocol.ts"
import { Sessions } from "./sessions.ts"

const { device, threads } = workerData as { readonly device: Device; readonly threads: number }

const sessions = new Sessions(device, threads)
const memories = device === "cpu" ? hostMemories() : deviceMemories(sessions)
const executables = new Map<number, Compiled>()
/** What runs each call. */
const calls = new Map<number, () => Promise<void>>()

const compile = async (request: Extract<Request, { readonly kind: "compile" }>): Promise<void> => {
  const digests = request.segments.map(({ model }) => model)
  const acquired = await sessions.acquire(request.models, digests, request.sparing)
  executables.set(request.executable, { ...request, models: [], sessions: acquired })
}

const free = ({ target: id, what }: Extract<Request, { readonly kind: "free" }>): void => {
  if (what === "buffer") memories.free(id)
  if (what === "call") calls.delete(id)
  if (what !== "executable") return
  sessions.release((executables.get(id)?.segments ?? []).map(({ model }) => model))
  executables.delete(id)
}

const answer = async (
  request: Request,
  payload: Uint8Array<ArrayBuffer> | undefined
): Promise<Uint8Array | undefined> => {
  switch (request.kind) {
    case "start":
      return void (await memories.start())
    case "transfers":
      return new TextEncoder().encode(JSON.stringify(memories.transfers()))
    case "compile":
      return void (await compile(request))
    case "allocate":
      return void memories.allocate(request.buffer, request.dtype, request.shape)
    case "view":
      return void memories.view(request.buffer, request.of, request.offset, request.shape)
    case "bind": {
      const { call, executable, inPlace, inputs, outputs } = request
      return void calls.set(call, memories.bind(need(executables, executable, "executable"), inputs, outputs, inPlace))
    }
    case "run":
      for (const call of request.calls) await need(calls, call, "call")()
      // The answer says that it is done.
      return void (await memories.settle())
    case "upload":
      return void (await memories.upload(request.buffer, payload!))
    case "download":
      return memories.download(request.buffer)
    case "free":
      return void free(request)
    case "close":
      return void (await sessions.close())
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
