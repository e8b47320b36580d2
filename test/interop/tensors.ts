/** Tensors of checkpoints and of what Python programs write, for the interoperability tests. */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { expect } from "@effect/vitest"
import { openTensors, type StoredTensors } from "../../src/formats/tensorFiles.ts"

export const tensorsIn = (path: string) =>
  openTensors(
    readdirSync(path)
      .filter(name => name.endsWith(".safetensors") || name.endsWith(".json"))
      .map(name => ({ name, path: join(path, name) }))
  )

export const tensorsOf = (path: string) => openTensors([{ name: "it.safetensors", path }])

export const all = (tensors: StoredTensors, name: string) => {
  const tensor = tensors.get(name)
  if (tensor === undefined) throw new Error(`there is no ${name}; there are ${[...tensors.keys()].join(", ")}`)
  return tensor.floats(
    0,
    tensor.shape.reduce((product, size) => product * size, 1)
  )
}

/** Largest difference. */
export const farthest = (actual: Float32Array, expected: Float32Array): number => {
  expect(actual.length).toBe(expected.length)
  return expected.reduce((most, x, i) => Math.max(most, Math.abs(actual[i]! - x)), 0)
}

/** Largest magnitude. */
export const greatest = (values: Float32Array): number => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0)

/** Largest difference, relative to the largest number. */
export const difference = (actual: Float32Array, expected: Float32Array): number =>
  farthest(actual, expected) / greatest(expected)
