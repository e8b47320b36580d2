/** Models for WebGPU: what they are made of, and that their detours compute the same, run on the processor. */
import { describe, expect, it } from "vitest"
import { deviceInLog, reasonIn, withoutAdapter } from "../../src/engines/ort/adapter.ts"
import { lowerSegment } from "../../src/engines/ort/lower.ts"
import { encodeModel } from "../../src/engines/ort/onnx.ts"
import { webgpuOpset } from "../../src/engines/ort/protocol.ts"
import { segmentsOf } from "../../src/engines/ort/segments.ts"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import * as ops from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements, type Shape, type Tensor } from "../../src/tensor/Tensor.ts"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"
import { program as commandLine } from "../support/program.ts"
import * as ort from "../../src/engines/ort/runtime.ts"

const modelOf = (y: Tensor) => {
  const program = makeProgram({ y })
  const model = lowerSegment(program, segmentsOf(program).segments[0]!, "webgpu")
  return { program, model, operators: model.nodes.map(({ op }) => op) }
}

/** Runs a program of f32 inputs on the processor, as it is written for WebGPU. */
const run = async (y: Tensor, values: { readonly [name: string]: Float32Array }) => {
  const { model, program } = modelOf(y)
  const session = await ort.InferenceSession.create(encodeModel(model, webgpuOpset), { logSeverityLevel: 4 })
  const feeds = Object.fromEntries(
    program.inputs.map(({ name, value }, i) => [
      model.inputs[i]!.name,
      new ort.Tensor("float32", values[name]!, program.values[value]!.shape)
    ])
  )
  const results = await session.run(feeds)
  return { ours: results[model.outputs[0]!.name]!.data as Float32Array, expected: evaluate(program, values)["y"]! }
}

const f32 = (name: string, ...shape: Shape): Tensor => ops.input(name, "f32", shape)
const drawn = (name: string, shape: Shape) => normals(randomKey(1, name), elements(shape))

describe("operators that WebGPU lacks or gets wrong are not used", () => {
  const cases: { readonly [operator: string]: Tensor } = {
    Sign: ops.sign(f32("x", 4)),
    Sin: ops.sin(f32("x", 4)),
    Cos: ops.cos(f32("x", 4)),
    LogSoftmax: ops.logSoftmax(f32("x", 4)),
    FusedMatMul: ops.matmul(f32("x", 2, 3, 4), f32("y", 2, 3, 4), { transposeB: true }),
    RMSNormalization: ops.rmsNorm(f32("x", 3, 4), f32("w", 4), 1e-6),
    BitCast: ops.exp(ops.input("x", "bf16", [4])),
    IsNaN: ops.max(f32("x", 3, 4), 1)
  }
  for (const [operator, y] of Object.entries(cases))
    it(operator, () => expect(modelOf(y).operators).not.toContain(operator))

  it("SimplifiedLayerNormalization gives one result: its second one is garbage", () => {
    const { model } = modelOf(cases["RMSNormalization"]!)
    expect(model.nodes.map(({ op, outputs }) => [op, outputs.length])).toContainEqual([
      "SimplifiedLayerNormalization",
      1
    ])
  })
})

describe("what takes their place", () => {
  it("has sines and cosines of angles up to 30,000, which WGSL's own would miss by 2^-11", async () => {
    // Angles as f32 has them; Math.sin and Math.cos are right to the last bits of a float64.
    const angles = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) * 15.003)
    const around = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 500)
    for (const x of [angles, around])
      for (const [op, truth] of [
        [ops.sin, Math.sin],
        [ops.cos, Math.cos]
      ] as const) {
        const { ours } = await run(op(f32("x", x.length)), { x })
        const worst = Math.max(...ours.map((value, i) => Math.abs(value - truth(x[i]!))))
        expect(worst).toBeLessThan(x === around ? 1.5e-7 : 1e-6)
      }
  })

  it("has the logarithm of a softmax, also of large numbers", async () => {
    const x = drawn("x", [5, 7]).map((value, i) => value * (i % 5 === 0 ? 1e4 : 3))
    for (const axis of [0, 1]) {
      const { expected, ours } = await run(ops.logSoftmax(f32("x", 5, 7), axis), { x })
      for (const [i, value] of expected.entries())
        expect(Math.abs(ours[i]! - value)).toBeLessThan(1e-6 * Math.max(1, Math.abs(value)))
    }
  })

  it("has products of transposed matrices by Gemm", async () => {
    for (const transposeA of [false, true])
      for (const transposeB of [false, true]) {
        const a: Shape = transposeA ? [5, 3] : [3, 5]
        const b: Shape = transposeB ? [4, 5] : [5, 4]
        const y = ops.matmul(f32("a", ...a), f32("b", ...b), { transposeA, transposeB })
        expect(modelOf(y).operators).toContain(transposeA || transposeB ? "Gemm" : "MatMul")
        const { expected, ours } = await run(y, { a: drawn("a", a), b: drawn("b", b) })
        for (const [i, value] of expected.entries()) expect(Math.abs(ours[i]! - value)).toBeLessThan(1e-5)
      }
  })
})

describe("without an adapter", () => {
  it("says what to install", () => {
    const said = "webgpu_context.cc:136 … was false. Failed to get a WebGPU adapter: No supported adapters"
    expect(withoutAdapter(said, "linux")).toMatch(/^no WebGPU adapter was found; install .*libvulkan1/)
    expect(withoutAdapter("something else", "linux")).toBe("something else")
    expect(
      withoutAdapter("Invalid argument: sessionOptions.executionProviders[0] is unsupported: 'webgpu'.", "linux")
    ).toMatch(/has no WebGPU$/)
  })

  it("reads which device the Vulkan loader took", () => {
    const log =
      'DRIVER: [0] Some Device\nLAYER:  Using "Other (X)" with driver: "/a"\n  Using "GPU 7 (Y)" with driver: "/b"'
    expect(deviceInLog(log)).toBe("GPU 7 (Y)")
    expect(deviceInLog("nothing of the kind")).toBeUndefined()
  })

  it("reads what the search for a device died of, and says no more", () => {
    const log = "DEBUG: a line of the loader\n".repeat(9)
    expect(reasonIn({ code: 1 }, `${log}Error: no adapter\n  at a line\n`)).toBe("no adapter")
    expect(reasonIn({ signal: "SIGSEGV" }, log)).toBe("the process that looks for the device ended with SIGSEGV")
    expect(reasonIn({ code: 3 }, log)).toBe("the process that looks for the device ended with 3")
  })

  it.runIf(process.platform === "linux")(
    "--engine webgpu fails, and doctor says so",
    { timeout: 120_000 },
    async () => {
      const house = new MaintenanceFolder()
      const environment = {
        VK_DRIVER_FILES: "/nowhere",
        VK_ICD_FILENAMES: "/nowhere",
        HF_ENDPOINT: "http://127.0.0.1:1",
        HF_HOME: "/nonexistent"
      }
      try {
        const { code, stderr } = await commandLine(["generate", "-n", "1", "--engine", "webgpu", "The people"], {
          cwd: house.path,
          environment
        })
        expect(code).not.toBe(0)
        expect(stderr).toMatch(/no WebGPU adapter was found; install/)
        const { stderr: warnings, stdout } = await commandLine(["doctor", "--json"], { cwd: house.path, environment })
        expect(warnings).not.toMatch(/vulkan/i)
        const { findings } = JSON.parse(stdout) as { findings: ReadonlyArray<{ name: string; text: string }> }
        expect(findings.find(({ name }) => name === "engine webgpu")!.text).toMatch(
          /^not available: no WebGPU adapter was found; install/
        )
      } finally {
        house.remove()
      }
    }
  )
})
