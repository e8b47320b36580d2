/**
 * Tensors on a WebGPU device: made from host elements or from each other, read back, and given back to the device when nobody holds them. The
 * runtime offers memory there only as results of sessions, so that each of these is a tiny model.
 */
import { elements, type Shape } from "../../tensor/Tensor.ts"
import { encodeModel, type OnnxModel, type OnnxType, vectorModel } from "./onnx.ts"
import { tensorTypes } from "./memories.ts"
import { isWhole, type Piece } from "./pieces.ts"
import { noTransfers, type Transfers, webgpuOpset } from "./protocol.ts"
import type { Sessions } from "./sessions.ts"
import * as ort from "./runtime.ts"

const setting = (value: number): ort.Tensor => new ort.Tensor("int64", BigInt64Array.of(BigInt(value)), [1])

export class DeviceTensors {
  readonly #sessions: Sessions
  readonly #models = new Map<string, Promise<ort.InferenceSession>>()
  readonly #holders = new Map<ort.Tensor, number>()
  #transfers = noTransfers
  #last: Promise<ort.Tensor> | undefined

  constructor(sessions: Sessions) {
    this.#sessions = sessions
  }

  get transfers(): Transfers {
    return { ...this.#transfers, partlyOnProcessor: this.#sessions.partlyOnProcessor }
  }

  readonly hold = (tensor: ort.Tensor): void => void this.#holders.set(tensor, (this.#holders.get(tensor) ?? 0) + 1)

  readonly release = (tensor: ort.Tensor): void => {
    const left = (this.#holders.get(tensor) ?? 0) - 1
    if (left > 0) return void this.#holders.set(tensor, left)
    this.#holders.delete(tensor)
    this.#sessions.dispose(tensor)
  }

  /** The same memory under another shape, good for as long as the tensor is held. */
  readonly shaped = (tensor: ort.Tensor, shape: Shape): ort.Tensor =>
    ort.Tensor.fromGpuBuffer(tensor.gpuBuffer, { dataType: tensor.type as "float32", dims: shape })

  /** A vector of host elements. */
  async upload(type: OnnxType, data: ArrayBufferView<ArrayBuffer>): Promise<ort.Tensor> {
    const [name, TypedArray] = tensorTypes[type]
    const array = new TypedArray(data.buffer, data.byteOffset, data.byteLength / TypedArray.BYTES_PER_ELEMENT)
    const { uploadedBytes, uploads } = this.#transfers
    this.#transfers = { ...this.#transfers, uploads: uploads + 1, uploadedBytes: uploadedBytes + data.byteLength }
    const x0 = new ort.Tensor(name as "float32", array as Float32Array, [array.length])
    return this.#run(`upload ${type}`, () => vectorModel("Identity", type, 1), { x0 })
  }

  async download(type: OnnxType, tensor: ort.Tensor): Promise<Uint8Array<ArrayBuffer>> {
    const data = await this.#host(type, tensor)
    const { downloadedBytes, downloads } = this.#transfers
    this.#transfers = {
      ...this.#transfers,
      downloads: downloads + 1,
      downloadedBytes: downloadedBytes + data.byteLength
    }
    return data
  }

  /** Waits until the device has done all that was asked of it: what is read back, one element, comes last in its queue. */
  readonly settle = async (): Promise<void> => {
    this.#last ??= this.#part("f32", { offset: 0, length: 1, tensor: undefined, at: 0 })
    await this.#host("f32", await this.#last)
  }

  /** The elements of a tensor; its own `getData` ends the process. */
  async #host(type: OnnxType, tensor: ort.Tensor): Promise<Uint8Array<ArrayBuffer>> {
    const session = await this.#session(`download ${type}`, () => vectorModel("Identity", type, 1), "cpu")
    const { y } = await session.run({ x0: this.shaped(tensor, [tensor.size]) })
    const data = y!.data as Uint8Array<ArrayBuffer>
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  }

  /** One tensor of what lies in pieces, made on the device. */
  async join(type: OnnxType, pieces: ReadonlyArray<Piece<ort.Tensor>>): Promise<ort.Tensor> {
    if (pieces.length === 1) return this.#part(type, pieces[0]!)
    const parts: Array<ort.Tensor> = []
    try {
      for (const piece of pieces) {
        const part = await this.#part(type, piece)
        this.hold(part)
        parts.push(part)
      }
      const feeds = Object.fromEntries(parts.map((part, i) => [`x${i}`, this.shaped(part, [part.size])]))
      const model = () => vectorModel("Concat", type, parts.length, [], { axis: 0 })
      return await this.#run(`concat ${type} ${parts.length}`, model, feeds)
    } finally {
      for (const part of parts) this.release(part)
    }
  }

  async #part(type: OnnxType, piece: Piece<ort.Tensor>): Promise<ort.Tensor> {
    const { at, length, tensor } = piece
    if (tensor !== undefined && isWhole(piece)) return tensor
    if (tensor === undefined) {
      const [name, TypedArray] = tensorTypes[type]
      const x0 = new ort.Tensor(name as "float32", new TypedArray(1) as Float32Array, [1])
      return this.#run(`zeros ${type}`, () => vectorModel("Expand", type, 1, ["n"]), { x0, n: setting(length) })
    }
    return this.#run(`slice ${type}`, () => vectorModel("Slice", type, 1, ["start", "end"]), {
      x0: this.shaped(tensor, [tensor.size]),
      start: setting(at),
      end: setting(at + length)
    })
  }

  async #run(key: string, model: () => OnnxModel, feeds: Record<string, ort.Tensor>): Promise<ort.Tensor> {
    const session = await this.#session(key, model, "webgpu")
    const made = (await session.run(feeds))["y"]!
    this.#sessions.made(session, made)
    return made
  }

  #session(key: string, model: () => OnnxModel, results: "cpu" | "webgpu"): Promise<ort.InferenceSession> {
    const made = this.#models.get(key) ?? this.#sessions.create(encodeModel(model(), webgpuOpset), results)
    this.#models.set(key, made)
    return made
  }
}

/** A vector without elements, which needs no memory of the device. */
export const emptyTensor = (type: OnnxType, shape: Shape): ort.Tensor => {
  const [name, TypedArray] = tensorTypes[type]
  return new ort.Tensor(name as "float32", new TypedArray(elements(shape)) as Float32Array, shape)
}
