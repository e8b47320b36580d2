/** Results of the runtime on the host: what it writes to memory that it was given is there, and the copy that it returns beside is given back. */
import { expect, it } from "vitest"
import { hostMemories } from "../../src/engines/ort/hostMemories.ts"
import type { Compiled } from "../../src/engines/ort/memories.ts"
import * as ort from "../../src/engines/ort/runtime.ts"

it("a result is written where it belongs, and the copy of it takes no memory after the run", async () => {
  const returned: Array<ort.Tensor> = []
  /** As ONNX Runtime: doubles x, writes y to the memory it is given, and returns copies. */
  const run = async (
    feeds: { readonly [name: string]: ort.Tensor },
    fetches: { readonly [name: string]: ort.Tensor | null }
  ) => {
    const values = (feeds["x"]!.data as Float32Array).map(x => 2 * x)
    for (const fetch of Object.values(fetches)) (fetch?.data as Float32Array | undefined)?.set(values)
    const results = Object.keys(fetches).map(name => [name, new ort.Tensor("float32", values.slice(), [3])] as const)
    for (const [, tensor] of results) returned.push(tensor)
    return Object.fromEntries(results)
  }
  const port = { dtype: "f32", type: "f32", shape: [3] } as const
  const compiled: Compiled = {
    kind: "compile",
    executable: 0,
    models: [],
    sparing: false,
    sessions: [{ run } as unknown as ort.InferenceSession],
    segments: [
      {
        model: "",
        inputs: [{ name: "x", from: { port: 0 } }],
        outputs: [
          // One value is two results of the program; only the first has its memory from it.
          { name: "y", to: [{ port: 0 }, { port: 1 }] },
          { name: "x", to: [{ port: 2 }] }
        ],
        done: []
      }
    ],
    inputs: [port],
    outputs: [port, port, port],
    copies: [],
    constants: []
  }
  const memories = hostMemories()
  for (const buffer of [0, 1, 2]) memories.allocate(buffer, "f32", [3])
  const values = Float32Array.of(1, 2, 3)
  await memories.upload(0, new Uint8Array(values.buffer))
  // The last result lies where the input is read.
  await memories.bind(compiled, [0], [1, 2, 0], [])()
  for (const buffer of [0, 1, 2]) {
    const bytes = await memories.download(buffer)
    expect([...new Float32Array(bytes.buffer)]).toEqual([2, 4, 6])
  }
  const [given, own] = returned.map(({ data }) => (data as Float32Array).buffer.byteLength)
  expect(given).toBe(0)
  expect(own).toBe(12)
})
