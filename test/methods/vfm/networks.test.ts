/** Whom the noise adapter sees: those that the language model sees. */
import { describe, expect, it } from "vitest"
import { Schema } from "effect"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { vfm, VfmArchitecture, vfmSpecs } from "../../../src/methods/vfm/networks.ts"
import { initialValues } from "../../../src/models/parameters.ts"
import { input } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import { modelConfig } from "../../support/tinyModel.ts"

describe("the noise adapter", () => {
  it.each([undefined, 2])("with blocks of %s: a changed embedding changes the noise where it is seen", blockSize => {
    const config = modelConfig(blockSize === undefined ? {} : { attentionBlockSize: blockSize })
    const { hiddenSize: d } = config
    const length = 6
    const architecture = Schema.decodeUnknownSync(VfmArchitecture)({ adapterLayers: 1, adapterHeads: 2, maxSeqLen: 8 })
    const specs = vfmSpecs(architecture, config)
    const values = Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, 3)]))
    const weights = new Map(specs.map(spec => [spec.name, input(spec.name, "f32", spec.shape)]))
    const { mean } = vfm(architecture, config, name => weights.get(name)!).adapter(input("x", "f32", [1, length, d]), {
      observed: input("observed", "f32", [1, length]),
      segmentIds: input("segmentIds", "i32", [1, length]),
      positions: input("positions", "i32", [1, length])
    })
    const answer = (x: Float32Array) =>
      evaluateTensors(
        { mean },
        {
          ...values,
          x,
          observed: Array<number>(6).fill(1),
          segmentIds: Array<number>(6).fill(0),
          positions: [0, 1, 2, 3, 4, 5]
        },
        { exact: true }
      )["mean"]!
    const x = normals(randomKey(1, "embeddings"), length * d)
    const before = answer(x)
    for (let k = 0; k < length; k++) {
      const changed = x.slice()
      changed[k * d]! += 1
      const after = answer(changed)
      for (let q = 0; q < length; q++) {
        const moved = after.subarray(q * d, (q + 1) * d).some((value, i) => value !== before[q * d + i])
        const seen = blockSize === undefined || Math.floor(k / blockSize) <= Math.floor(q / blockSize)
        expect(moved, `${k} and ${q}`).toBe(seen)
      }
    }
  })
})
