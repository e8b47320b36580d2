/**
 * Sessions of ONNX Runtime: one for each distinct model, so that executables with equal segments share them. On a device, the memory of a result
 * is its session's, so that a session lives as long as its tensors; to give back a tensor after its session ends the process.
 */
import type { Device } from "./protocol.ts"
import * as ort from "./runtime.ts"

/** That optimiser makes one FusedMatMul of a transpose and a product of an empty batch, on which the operator fails. */
const optimization = { disable_specified_optimizers: "MatmulTransposeFusion" }

/** Else the threads of a session look for work for a while after each of its runs, and take the processors from those of the session that runs next. */
const threading = { force_spinning_stop: "1" }

/** Memory by the system. An arena keeps the most that a run ever took, some of it twice: once as it was found out, once as it was then planned. */
const withoutArena = { enableCpuMemArena: false, enableMemPattern: false } as const

/** What creation says where an operator has no kernel for WebGPU, and may not be left to the processor. */
const leftToProcessor = /fallback to CPU EP has been explicitly disabled/

export class Sessions {
  readonly #options: ort.SessionOptions
  readonly #entries = new Map<string, { readonly session: ort.InferenceSession; users: number }>()
  readonly #device: Device
  /** All that are not released. */
  readonly #living = new Set<ort.InferenceSession>()
  /** Tensors on the device, with the session that made each. */
  readonly #makers = new Map<ort.Tensor, ort.InferenceSession>()
  /** How many of its tensors there are, and what waits for the last to go. */
  readonly #made = new Map<ort.InferenceSession, number>()
  readonly #waiting = new Set<ort.InferenceSession>()
  /** Sessions that the processor computes a part of, with copies there and back in every run. */
  partlyOnProcessor = 0

  constructor(device: Device, threads: number) {
    this.#device = device
    this.#options = {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: "all",
      executionProviders: [device],
      logSeverityLevel: 3,
      extra: { optimization, session: threading }
    }
  }

  /** A session on the engine's device. `results`: where what it computes is left, by default there. `sparing`: keeps no memory between runs on the processor. */
  readonly create = async (
    model: Uint8Array,
    results = this.#device,
    sparing = false
  ): Promise<ort.InferenceSession> => {
    const session = await this.#make(model, results, sparing)
    this.#living.add(session)
    return session
  }

  async #make(model: Uint8Array, results: Device, sparing: boolean): Promise<ort.InferenceSession> {
    if (this.#device === "cpu")
      return ort.InferenceSession.create(model, sparing ? { ...this.#options, ...withoutArena } : this.#options)
    const options = {
      ...this.#options,
      ...(results === "webgpu" ? { preferredOutputLocation: "gpu-buffer" as const } : {})
    }
    try {
      return await ort.InferenceSession.create(model, {
        ...options,
        // That a model is not for the device alone is no error to show.
        logSeverityLevel: 4,
        extra: { optimization, session: { ...threading, disable_cpu_ep_fallback: "1" } }
      })
    } catch (cause) {
      if (!(cause instanceof Error && leftToProcessor.test(cause.message))) throw cause
      this.partlyOnProcessor += 1
      return ort.InferenceSession.create(model, options)
    }
  }

  /** Sessions of models by their digests, made where they are new. */
  async acquire(
    models: ReadonlyArray<{ readonly digest: string; readonly bytes: Uint8Array }>,
    digests: ReadonlyArray<string>,
    sparing: boolean
  ): Promise<ReadonlyArray<ort.InferenceSession>> {
    for (const { bytes, digest } of models)
      if (!this.#entries.has(digest))
        this.#entries.set(digest, { session: await this.create(bytes, this.#device, sparing), users: 0 })
    return digests.map(digest => {
      const entry = this.#entries.get(digest)!
      entry.users += 1
      return entry.session
    })
  }

  release(digests: ReadonlyArray<string>): void {
    for (const digest of digests) {
      const entry = this.#entries.get(digest)!
      entry.users -= 1
      if (entry.users > 0) continue
      this.#entries.delete(digest)
      if (this.#made.has(entry.session)) this.#waiting.add(entry.session)
      else this.#end(entry.session)
    }
  }

  /** A tensor on the device came out of a session. */
  readonly made = (session: ort.InferenceSession, tensor: ort.Tensor): void => {
    this.#makers.set(tensor, session)
    this.#made.set(session, (this.#made.get(session) ?? 0) + 1)
  }

  /** Gives the memory of such a tensor back. */
  readonly dispose = (tensor: ort.Tensor): void => {
    tensor.dispose()
    const session = this.#makers.get(tensor)
    if (session === undefined) return
    this.#makers.delete(tensor)
    const left = this.#made.get(session)! - 1
    if (left > 0) return void this.#made.set(session, left)
    this.#made.delete(session)
    if (this.#waiting.delete(session)) this.#end(session)
  }

  /** Gives back everything, in an order that the runtime bears. */
  async close(): Promise<void> {
    for (const tensor of this.#makers.keys()) tensor.dispose()
    this.#makers.clear()
    for (const session of this.#living) await session.release()
    this.#living.clear()
  }

  #end(session: ort.InferenceSession): void {
    this.#living.delete(session)
    void session.release()
  }
}
