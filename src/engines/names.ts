/** The engines by name, and what decides the last bits of their results. Imported by the command line: loads no engine. */
import { existsSync } from "node:fs"

export const engineNames = ["ort", "torch", "reference"] as const
export type EngineName = (typeof engineNames)[number]

/** ONNX Runtime on the processor. */
export const defaultEngine: EngineName = "ort"

/** `cuda` where Linux has an NVIDIA device, or `PIPELINE_TORCH_DEVICE`: known without starting PyTorch. */
export const torchDevice = (environment: NodeJS.ProcessEnv = process.env): string => {
  const named = environment["PIPELINE_TORCH_DEVICE"]
  if (named !== undefined && named !== "") return named
  return existsSync("/dev/nvidia0") ? "cuda" : "cpu"
}

/**
 * Engine, device kind and precision policy, as in `ort/cpu/f32`: coarse enough that results are shared between machines whose last bits
 * differ.
 */
export const numericClass = (name: EngineName): string => {
  switch (name) {
    case "ort":
      return "ort/cpu/f32"
    case "torch":
      return `torch/${torchDevice().split(":")[0]}/f32`
    case "reference":
      return "reference/cpu/f64"
  }
}

/** The engine behind a numeric class; undefined for one that this version does not know. */
export const engineOfClass = (numericClass: string): EngineName | undefined =>
  engineNames.find(name => numericClass.startsWith(`${name}/`))
