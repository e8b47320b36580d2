/** The reference engine: float64 loops behind the interface that all engines share. For tests, and for looking at small programs. */
import { Effect } from "effect"
import { bytesPerElement, type DType, hostArray, hostView, type HostArray } from "../../tensor/dtype.ts"
import type { Program } from "../../tensor/Program.ts"
import { elements } from "../../tensor/Tensor.ts"
import { alone, type Engine, EngineError } from "../Engine.ts"
import { need } from "../handles.ts"
import { cachedElements, numericClass } from "../names.ts"
import { remoteEngine, type RemoteRequest } from "../remote.ts"
import { evaluate, fromNumbers, toNumbers } from "./evaluate.ts"

interface Memory {
  readonly dtype: DType
  readonly data: HostArray
}

interface Call {
  readonly program: Program
  readonly inputs: ReadonlyArray<Memory>
  readonly outputs: ReadonlyArray<Memory>
}

/** An engine of its own: its buffers are known to no other. */
export const makeReference = (): Engine => {
  const buffers = new Map<number, Memory>()
  const executables = new Map<number, Program>()
  const calls = new Map<number, Call>()
  const held = { buffer: buffers, executable: executables, call: calls }
  const memoryOf = (buffer: number): Memory => need(buffers, buffer, "buffer")
  const bytesOf = ({ data }: Memory): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

  const run = ({ inputs, outputs, program }: Call): void => {
    const given = program.inputs.map(({ name }, i) => [name, toNumbers(inputs[i]!.dtype, inputs[i]!.data)] as const)
    const results = evaluate(program, Object.fromEntries(given))
    for (const [i, { name }] of program.outputs.entries()) {
      const { data, dtype } = outputs[i]!
      data.set(fromNumbers(dtype, results[name]!) as never)
    }
  }

  const answer = (request: RemoteRequest, payload?: Uint8Array): Uint8Array<ArrayBuffer> | undefined => {
    switch (request.kind) {
      case "allocate":
        return void buffers.set(request.buffer, {
          dtype: request.dtype,
          data: hostArray(request.dtype, elements(request.shape))
        })
      case "view": {
        const { data, dtype } = memoryOf(request.of)
        const start = data.byteOffset + request.offset * bytesPerElement[dtype]
        const view = hostView(dtype, data.buffer as ArrayBuffer, start, elements(request.shape))
        return void buffers.set(request.buffer, { dtype, data: view })
      }
      case "bind":
        return void calls.set(request.call, {
          program: need(executables, request.executable, "executable"),
          inputs: request.inputs.map(memoryOf),
          outputs: request.outputs.map(memoryOf)
        })
      case "run":
        return request.calls.forEach(call => run(need(calls, call, "call"))) as undefined
      case "upload":
        return void bytesOf(memoryOf(request.buffer)).set(payload!)
      case "download":
        return Uint8Array.from(bytesOf(memoryOf(request.buffer)))
      case "free":
        return void held[request.what].delete(request.target)
    }
  }

  return remoteEngine({
    name: "reference",
    numericClass: numericClass("reference"),
    world: alone,
    chunk: cachedElements,
    ask: (request, payload) =>
      Effect.try({
        try: () => answer(request, payload),
        catch: cause =>
          new EngineError({ engine: "reference", message: cause instanceof Error ? cause.message : String(cause) })
      }),
    compile: (executable, program) => Effect.sync(() => void executables.set(executable, program))
  })
}
