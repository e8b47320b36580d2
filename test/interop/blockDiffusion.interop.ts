/** The pass of block diffusion against transformers' Qwen models with an explicit mask, in PyTorch. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeOrt } from "../../src/engines/ort/ort.ts"
import { parameterAliases, parameterSpecs } from "../../src/models/config.ts"
import { nextTokenLossData, nextTokenLossInputs, nextTokenLosses } from "../../src/models/nextTokenLoss.ts"
import { allocateParameters } from "../../src/models/parameters.ts"
import { loadWeights } from "../../src/models/weights.ts"
import { inputsOf, makeSession } from "../../src/sessions/session.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { add, input, mul, sum } from "../../src/tensor/ops.ts"
import type { Tensor } from "../../src/tensor/Tensor.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { python } from "./python.ts"
import { denseModel, opened, qwen2, qwen3 } from "./smallModels.ts"
import { all, difference, tensorsOf } from "./tensors.ts"

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "interop-block-diffusion-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

const mask = 100
const documents = [9, 17, 24, 5].map((length, s) => ({
  ids: Array.from({ length }, (_, i) => (i * i * 5 + 3 * i + 11 * s) % 100),
  masked: Array.from({ length }, (_, i) => Number((i * 7 + s) % 5 < 3))
}))
/** Some documents in each row, with padding behind them. */
const rows = [
  [0, 1],
  [2, 3]
]
const shape = { rows: 2, length: 31 }
const packed = (of: "ids" | "masked") =>
  packedArrays(
    documents.map(document => document[of]),
    rows,
    { capacity: shape.length, pad: 0 }
  )

/** The columns that predict masked tokens, document by document. */
const columns = rows.flatMap((row, r) => {
  let start = r * shape.length
  return row.flatMap(document => {
    const first = start
    const { masked } = documents[document]!
    start += masked.length
    return masked.flatMap((bit, i) => (bit === 1 && i > 0 ? [first + i - 1 - r] : []))
  })
})

const blockSizes = [1, 4, 7, 32]

describe("block diffusion", () => {
  it.live.each(Object.entries({ qwen3, qwen2 }))(
    "of %s has PyTorch's losses and gradients, by one dense pass and block by block, in any packing",
    ([name, json]) =>
      Effect.scoped(
        Effect.gen(function* () {
          const path = yield* denseModel(join(directory, name), { ...json, initializer_range: 0.2 })
          const clean = nextTokenLossData(packed("ids"), shape)
          const hidden = packed("masked").ids
          const ids = clean.ids.map((id, i) => (hidden[i] === 1 ? mask : id))
          const weights = new Float32Array(clean.targets.length)
          for (const [i, column] of columns.entries()) weights[column] = 0.2 + (i % 3)
          const output = join(directory, `${name}.safetensors`)
          python("block_diffusion.py", {
            directory: path,
            documents,
            mask,
            blockSizes,
            weights: columns.map(column => weights[column]!),
            output
          })
          const theirs = yield* tensorsOf(output)

          const engine = yield* makeOrt({ threads: 2 })
          const { config, tensors } = yield* opened(path)
          const specs = parameterSpecs(config)
          const buffers = yield* allocateParameters(engine, specs)
          yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
          for (const attentionBlockSize of blockSizes) {
            const parameter = inputsOf(buffers.views)
            const { losses } = nextTokenLosses(
              { ...config, attentionBlockSize },
              parameter,
              inputsOf(nextTokenLossInputs(shape)),
              { causal: false, checkpointLayers: false, clean: input("clean", "i32", [shape.rows, shape.length]) }
            )
            const found = gradients(
              sum(mul(losses, input("weights", "f32", [weights.length]))),
              specs.map(spec => parameter(spec.name))
            )
            const outputs: { readonly [output: string]: Tensor } = {
              losses,
              ...Object.fromEntries(specs.map((spec, i) => [`gradient/${spec.name}`, add(found[i]!, 0)]))
            }
            const session = yield* makeSession(engine, outputs, buffers.views)
            const ours = yield* session.run({ ...clean, ids, clean: clean.ids, weights })
            const their = (tensor: string) => all(theirs, `${attentionBlockSize}/${tensor}`)
            const own = Float32Array.from(columns, column => ours["losses"]![column]!)
            for (const way of ["whole", "blocks"])
              expect(difference(own, yield* their(way)), `${way}, ${attentionBlockSize}`).toBeLessThan(1e-5)
            for (const spec of specs)
              expect(
                difference(ours[`gradient/${spec.name}`]!, yield* their(`gradient/${spec.name}`)),
                `${attentionBlockSize}: ${spec.name}`
              ).toBeLessThan(1e-4)
          }
        })
      )
  )
})
