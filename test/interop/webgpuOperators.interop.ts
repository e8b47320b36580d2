/**
 * What ONNX Runtime was found to do wrongly on WebGPU, run directly on a GPU in software. When one of these tests fails, the runtime was mended:
 * take the detour out of src/engines/ort (named in the test), then the test.
 */
import { spawnSync } from "node:child_process"
import { describe, expect, it } from "vitest"
import { contribDomain, encodeModel, Float, type OnnxAttribute, type OnnxModel } from "../../src/engines/ort/onnx.ts"
import { webgpuOpset } from "../../src/engines/ort/protocol.ts"
import { vulkanVariable } from "./vulkan.ts"
import { libraryFile, withoutTelemetry } from "../../src/engines/ort/library.ts"
import * as ort from "../../src/engines/ort/runtime.ts"

const f32 = (name: string, ...shape: ReadonlyArray<number | string>) => ({ name, type: "f32" as const, shape })
const tensor = (values: ReadonlyArray<number>, shape: ReadonlyArray<number> = [values.length]) =>
  new ort.Tensor("float32", Float32Array.from(values), shape)

/** y = op(x, …) on tensors of any shape. */
const modelOf = (
  op: string,
  ranks: ReadonlyArray<number>,
  attributes: { readonly [name: string]: OnnxAttribute } = {},
  domain = ""
): OnnxModel => {
  const inputs = ranks.map((rank, i) => f32(`x${i}`, ...Array.from({ length: rank }, (_, axis) => `d${i}${axis}`)))
  const outputs = [f32("y", ...Array.from({ length: Math.max(...ranks) }, (_, axis) => `e${axis}`))]
  const names = inputs.map(({ name }) => name)
  return { nodes: [{ op, domain, inputs: names, outputs: ["y"], attributes }], constants: [], inputs, outputs }
}

const onDevice = { session: { disable_cpu_ep_fallback: "1" } }
const create = (
  model: OnnxModel,
  options: ort.SessionOptions = {},
  opset: number = webgpuOpset
): Promise<ort.InferenceSession> =>
  ort.InferenceSession.create(encodeModel(model, opset), {
    // What the first session of a process says of validation holds for all.
    executionProviders: [{ name: "webgpu", validationMode: "full" }],
    logSeverityLevel: 4,
    ...options
  })
const run = async (model: OnnxModel, ...inputs: ReadonlyArray<ort.Tensor>) => {
  const session = await create(model)
  const results = await session.run(Object.fromEntries(inputs.map((input, i) => [`x${i}`, input])))
  return results["y"]!.data as Float32Array
}

describe.skipIf(process.env[vulkanVariable] === undefined)("still so in ONNX Runtime on WebGPU", () => {
  it("operators that it lacks (lower.ts: logSoftmax; expansions.ts: matmul)", async () => {
    const refused = /fallback to CPU EP has been explicitly disabled/
    await expect(create(modelOf("LogSoftmax", [2]), { extra: onDevice })).rejects.toThrow(refused)
    const fused = modelOf("FusedMatMul", [2, 2], { transB: 1 }, contribDomain)
    await expect(create(fused, { extra: onDevice })).rejects.toThrow(refused)
  })

  it("operators of newer versions that it leaves to the processor (protocol.ts: webgpuOpset)", async () => {
    for (const [model, version] of [
      [modelOf("Sin", [2]), 22],
      [modelOf("Transpose", [2], { perm: [1, 0] }), 25]
    ] as const) {
      await create(model, { extra: onDevice })
      await expect(create(model, { extra: onDevice }, version)).rejects.toThrow(/explicitly disabled/)
    }
  })

  it("Sin and Cos lose digits (expansions.ts: sine)", async () => {
    const x = Array.from({ length: 100 }, (_, i) => (i - 50) / 20)
    for (const [op, truth] of [
      ["Sin", Math.sin],
      ["Cos", Math.cos]
    ] as const) {
      const y = await run(modelOf(op, [1]), tensor(x))
      expect(Math.max(...x.map((value, i) => Math.abs(y[i]! - truth(value))))).toBeGreaterThan(1e-5)
    }
  })

  it("Pow fails on some shapes that broadcast (lower.ts: pow)", async () => {
    const [x, y] = [tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4]), tensor([1, 2, 3], [3, 1])]
    await expect(run(modelOf("Pow", [3, 2]), x, y)).rejects.toThrow(/running Pow node/)
  })

  it("numbers cannot be rounded to f16 where the device has none (lower.ts: halves)", async () => {
    const model: OnnxModel = {
      nodes: [
        { op: "Cast", domain: "", inputs: ["x0"], outputs: ["h"], attributes: { to: 10 } },
        { op: "Cast", domain: "", inputs: ["h"], outputs: ["y"], attributes: { to: 1 } }
      ],
      constants: [],
      inputs: [f32("x0", 1)],
      outputs: [f32("y", 1)]
    }
    await expect(run(model, tensor([1 / 3]))).rejects.toThrow(/requires f16/)
  })

  it("the second result of SimplifiedLayerNormalization is wrong (lower.ts: rmsNorm has one)", async () => {
    const model: OnnxModel = {
      nodes: [
        {
          op: "SimplifiedLayerNormalization",
          domain: "",
          inputs: ["x", "w"],
          outputs: ["y", "inverse"],
          attributes: { axis: -1, epsilon: new Float(1e-6), stash_type: 1 }
        }
      ],
      constants: [],
      inputs: [f32("x", 2, 4), f32("w", 4)],
      outputs: [f32("y", 2, 4), f32("inverse", 2, 1)]
    }
    const feeds = { x: tensor([1, 2, 3, 4, 2, 2, 2, 2], [2, 4]), w: tensor([1, 1, 1, 1]) }
    const inverse = (await (await create(model)).run(feeds))["inverse"]!.data as Float32Array
    const right = [1 / Math.sqrt(7.5), 0.5]
    expect(Math.max(...right.map((value, i) => Math.abs(inverse[i]! - value)))).toBeGreaterThan(1e-3)
  })

  it("getData of a tensor on the device ends the process (deviceTensors.ts: another session reads it)", () => {
    const program = `
      const ort = require(process.argv[1])
      const options = { executionProviders: ["webgpu"], preferredOutputLocation: "gpu-buffer", logSeverityLevel: 4 }
      ort.InferenceSession.create(Buffer.from(process.argv[2], "base64"), options).then(async session => {
        const { y } = await session.run({ x0: new ort.Tensor("float32", Float32Array.of(1), [1]) })
        console.log("computed")
        await y.getData()
        console.log("read")
      })`
    const model = Buffer.from(encodeModel(modelOf("Neg", [1]), webgpuOpset)).toString("base64")
    const { status, stdout } = spawnSync(process.execPath, ["-e", program, libraryFile(), model], {
      encoding: "utf8",
      env: withoutTelemetry()
    })
    expect([status === 0, stdout]).toEqual([false, "computed\n"])
  })

  it("given memory is not written where results stay on the device (deviceMemories.ts: a run makes new tensors)", async () => {
    const session = await create(modelOf("Neg", [1]), { preferredOutputLocation: "gpu-buffer" })
    const { y: first } = await session.run({ x0: tensor([1, 2]) })
    const { y: second } = await session.run({ x0: tensor([3, 4]) }, { y: first! })
    const back = await create(modelOf("Neg", [1]))
    expect([...((await back.run({ x0: first! }))["y"]!.data as Float32Array)]).toEqual([1, 2])
    expect([...((await back.run({ x0: second! }))["y"]!.data as Float32Array)]).toEqual([3, 4])
  })

  it("memory cannot be read and written at once (deviceMemories.ts: nothing is in place)", async () => {
    const made = await create(modelOf("Add", [1, 1]), { preferredOutputLocation: "gpu-buffer" })
    const { y } = await made.run({ x0: tensor([1, 2]), x1: tensor([1, 1]) })
    const session = await create(modelOf("Add", [1, 1]))
    await expect(session.run({ x0: y!, x1: tensor([1, 1]) }, { y: y! })).rejects.toThrow(/synchronization scope/)
  })
})
