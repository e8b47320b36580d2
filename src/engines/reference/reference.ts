/** The reference engine: float64 loops behind the interface that all engines share. For tests, and for looking at small programs. */
import { Effect } from "effect"
import { bytesPerElement, hostArray, hostView, type HostArray } from "../../tensor/dtype.ts"
import { elements, shapeText } from "../../tensor/Tensor.ts"
import { alone, type Buffer, type Call, type Engine, EngineError, type Executable } from "../Engine.ts"
import { cachedElements, numericClass } from "../names.ts"
import { checkBinding } from "../binding.ts"
import { evaluate, fromNumbers, toNumbers } from "./evaluate.ts"

interface Memory extends Buffer {
  readonly data: HostArray
}

interface Bound extends Call {
  readonly inputs: ReadonlyMap<string, Memory>
  readonly outputs: ReadonlyMap<string, Memory>
}

const attempt = <A>(body: () => A): Effect.Effect<A, EngineError> =>
  Effect.try({
    try: body,
    catch: cause =>
      cause instanceof EngineError
        ? cause
        : new EngineError({ engine: "reference", message: cause instanceof Error ? cause.message : String(cause) })
  })

const refuse = (message: string): never => {
  throw new EngineError({ engine: "reference", message })
}

/** An engine of its own: its buffers are known to no other. */
export const makeReference = (): Engine => {
  const memories = new Map<number, Memory>()
  const calls = new Map<number, Bound>()
  let lastId = 0

  const add = (dtype: Buffer["dtype"], shape: Buffer["shape"], data: HostArray): Buffer => {
    const memory: Memory = { id: ++lastId, dtype, shape, data }
    memories.set(memory.id, memory)
    return { id: memory.id, dtype, shape }
  }
  const memoryOf = (buffer: Buffer): Memory =>
    memories.get(buffer.id) ??
    refuse(`buffer ${buffer.id} ${shapeText(buffer.shape)} was freed, or is not of this engine`)
  const bound = (buffers: { readonly [name: string]: Buffer }): ReadonlyMap<string, Memory> =>
    new Map(Object.entries(buffers).map(([name, buffer]) => [name, memoryOf(buffer)]))

  return {
    name: "reference",
    numericClass: numericClass("reference"),
    world: alone,
    chunk: cachedElements,
    compile: program => Effect.sync((): Executable => ({ id: ++lastId, program })),
    allocate: (dtype, shape) =>
      Effect.acquireRelease(
        Effect.sync(() => add(dtype, shape, hostArray(dtype, elements(shape)))),
        buffer => Effect.sync(() => void memories.delete(buffer.id))
      ),
    view: (buffer, offset, shape) =>
      attempt(() => {
        const { data, dtype } = memoryOf(buffer)
        const size = elements(shape)
        if (offset < 0 || offset + size > data.length)
          refuse(`a view of ${size} elements from ${offset} on does not lie within ${data.length} elements`)
        const start = data.byteOffset + offset * bytesPerElement[dtype]
        return add(dtype, shape, hostView(dtype, data.buffer as ArrayBuffer, start, size))
      }),
    bind: (executable, inputs, outputs) =>
      Effect.acquireRelease(
        attempt(() => {
          checkBinding("reference", executable.program, inputs, outputs)
          const call: Bound = { id: ++lastId, executable, inputs: bound(inputs), outputs: bound(outputs) }
          calls.set(call.id, call)
          return call
        }),
        call => Effect.sync(() => void calls.delete(call.id))
      ),
    run: wanted =>
      attempt(() => {
        for (const { id } of wanted) {
          const call = calls.get(id) ?? refuse(`call ${id} was freed, or is not of this engine`)
          const inputs = Object.fromEntries(
            [...call.inputs].map(([name, { data, dtype }]) => [name, toNumbers(dtype, data)])
          )
          const results = evaluate(call.executable.program, inputs)
          for (const [name, { data, dtype }] of call.outputs) data.set(fromNumbers(dtype, results[name]!) as never)
        }
      }),
    upload: (buffer, data) =>
      attempt(() => {
        const memory = memoryOf(buffer)
        if (data.constructor !== memory.data.constructor || data.length !== memory.data.length)
          refuse(
            `upload to ${buffer.dtype} ${shapeText(buffer.shape)} needs ${memory.data.length} elements in ${memory.data.constructor.name}, got ${data.length} in ${data.constructor.name}`
          )
        memory.data.set(data as never)
      }),
    download: buffer => attempt(() => memoryOf(buffer).data.slice())
  }
}
