/** The engines by name, and what decides the last bits of their results. Imported by the command line: loads no engine. */
import { existsSync } from "node:fs"

export const engineNames = ["ort", "webgpu", "torch", "reference"] as const
export type EngineName = (typeof engineNames)[number]

/** ONNX Runtime on the processor. */
export const defaultEngine: EngineName = "ort"

/**
 * How f32 tensors are multiplied: as they are; in TF32 (10 bits of mantissa) on GPUs that have it; or with operands rounded to 16 bits and sums
 * in f32. Everything else stays in f32, parameters and moments as well. f16 needs losses to be scaled (training/lossScale.ts).
 */
export const precisions = ["f32", "tf32", "bf16", "f16"] as const
export type Precision = (typeof precisions)[number]

export const defaultPrecision: Precision = "f32"

/** `ort` and `webgpu` lack kernels for 16-bit floats; `reference` is the judge. */
export const precisionsOf = (name: EngineName): ReadonlyArray<Precision> => (name === "torch" ? precisions : ["f32"])

/** Elements of which the four buffers of an optimiser fit into a second-level cache of 1 MiB. */
export const cachedElements = 2 ** 15

/** Elements that any WebGPU device can bind as one buffer: half of the 128 MiB that the standard demands, as f32. */
export const deviceElements = 2 ** 24

/** `cuda` where Linux has an NVIDIA device, or `PIPELINE_TORCH_DEVICE` (`cpu` or `cuda`): known without starting PyTorch. */
export const torchDevice = (environment: NodeJS.ProcessEnv = process.env): string => {
  const named = environment["PIPELINE_TORCH_DEVICE"]
  if (named !== undefined && named !== "") return named
  return existsSync("/dev/nvidia0") ? "cuda" : "cpu"
}

/**
 * Engine, device kind and precision policy, as in `ort/cpu/f32`: coarse enough that results are shared between machines whose last bits
 * differ.
 */
export const numericClass = (name: EngineName, precision: Precision = defaultPrecision): string => {
  switch (name) {
    case "ort":
      return "ort/cpu/f32"
    case "webgpu":
      return "webgpu/gpu/f32"
    case "torch":
      return torchClass(torchDevice(), precision)
    case "reference":
      return "reference/cpu/f64"
  }
}

/** `device` as PyTorch names it: `cpu`, `cuda`, `cuda:1` … */
export const torchClass = (device: string, precision: Precision): string => `torch/${device.split(":")[0]}/${precision}`

/** The engine behind a numeric class; undefined for one that this version does not know. */
export const engineOfClass = (numericClass: string): EngineName | undefined =>
  engineNames.find(name => numericClass.startsWith(`${name}/`))

/** The precision of a numeric class; undefined for one that this version does not know, and for `f64`. */
export const precisionOfClass = (numericClass: string): Precision | undefined =>
  precisions.find(precision => numericClass.endsWith(`/${precision}`))
