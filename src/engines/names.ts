/** The engines by name, and what decides the last bits of their results. Imported by the command line: loads no engine. */

export const engineNames = ["ort", "reference"] as const
export type EngineName = (typeof engineNames)[number]

/** ONNX Runtime on the processor. */
export const defaultEngine: EngineName = "ort"

const classes: { readonly [name in EngineName]: string } = {
  ort: "ort/cpu/f32",
  reference: "reference/cpu/f64"
}

/** Engine, device kind and precision policy: coarse enough that results are shared between machines whose last bits differ. */
export const numericClass = (name: EngineName): string => classes[name]

/** The engine behind a numeric class; undefined for one that this version does not know. */
export const engineOfClass = (numericClass: string): EngineName | undefined =>
  engineNames.find(name => classes[name] === numericClass)
