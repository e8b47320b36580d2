import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as ort from "onnxruntime-node"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { bruteForward } from "../models/bruteForce.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterAll(() => directory.remove())

const call = (...words: ReadonlyArray<string>) => pipeline(directory.path, words)
const tokens = [5, 300, 2, 1999, 7]

const run = async (file: string, feeds: { readonly [name: string]: ort.Tensor } = {}) => {
  const session = await ort.InferenceSession.create(readFileSync(join(directory.path, file)))
  const ids = new ort.Tensor("int32", Int32Array.from(tokens), [1, tokens.length])
  const { logits } = await session.run({ tokens: ids, ...feeds })
  return { data: logits!.data as Float32Array, dims: logits!.dims, inputs: session.inputNames }
}

describe("pipeline export --to onnx", () => {
  it("writes a graph that another runtime runs to the same logits, causal or bidirectional", async () => {
    for (const flags of [[], ["--bidirectional"]]) {
      const file = `tiny${flags.length}.onnx`
      const { code, stderr } = call("export", "tiny", "--to", "onnx", "-o", file, "--length", "5", ...flags)
      assert.strictEqual(code, 0, stderr)
      const { data, dims, inputs } = await run(file)
      assert.deepStrictEqual(inputs, ["tokens"])
      assert.deepStrictEqual(dims, [1, 5, tinyConfig.vocabSize])
      const expected = bruteForward(tinyConfig, tinyWeight, tokens, flags.length === 0).logits.flat()
      for (const [i, value] of expected.entries()) assert.closeTo(data[i]!, value, 1e-4)
    }
  })

  it("without weights has them as inputs, by their names in the checkpoint", async () => {
    const { code, stderr } = call("export", "tiny", "--to", "onnx", "-o", "graph.onnx", "--without-weights")
    assert.strictEqual(code, 0, stderr)
    const session = await ort.InferenceSession.create(readFileSync(join(directory.path, "graph.onnx")))
    assert.include(session.inputNames, "model.layers.1.self_attn.q_norm.weight")
    assert.isBelow(readFileSync(join(directory.path, "graph.onnx")).length, 40_000)
  })

  it("overwrites nothing, and says what cannot be exported", () => {
    const again = call("export", "tiny", "--to", "onnx", "-o", "graph.onnx")
    assert.strictEqual(again.code, 2)
    assert.include(again.stderr, "--output graph.onnx: is there already")
    const length = call("export", "tiny", "--to", "onnx", "-o", "x.onnx", "--length", "0")
    assert.include(length.stderr, "--length: must be a whole number from 1 on")
    const nothing = call("export", "nothing", "--to", "files", "-o", "x")
    assert.strictEqual(nothing.code, 2)
    assert.include(nothing.stderr, "nothing was ever run with the cache")
  })
})
