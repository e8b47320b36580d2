/** The pass of block diffusion against what it stands for: each block by itself, behind the clean blocks before it. */
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { evaluateTensors, type Values } from "../../src/engines/reference/evaluate.ts"
import { halvesForward, halvesMask } from "../../src/models/blockDiffusion.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { weightsOf } from "../../src/models/decoder.ts"
import { documentLengths, trainingFlops, work } from "../../src/models/flops.ts"
import { nextTokenLossData, nextTokenLossInputs, nextTokenLosses } from "../../src/models/nextTokenLoss.ts"
import { inputsOf } from "../../src/sessions/session.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { constant, input, lessEqual, mul, sum } from "../../src/tensor/ops.ts"
import { normals, randomKey } from "../../src/tensor/random.ts"
import { elements, type Tensor } from "../../src/tensor/Tensor.ts"
import { packedArrays } from "../../src/tokens/packing.ts"
import { expertsConfig, hybridConfig, modelConfig, type ModelSizes } from "../support/tinyModel.ts"
import { bruteForward } from "./bruteForce.ts"

const mask = 10
const tiny = (changes: ModelSizes = {}): ModelConfig => modelConfig({ heads: 2, keyValueHeads: 1, ...changes })
const weightValues = (config: ModelConfig): { readonly [name: string]: Float32Array } =>
  Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => [
      name,
      normals(randomKey(1, name), elements(shape)).map(x => (name.includes("norm") ? 1 + 0.2 * x : 0.4 * x))
    ])
  )

/** Documents in rows of `length`; `masked`: 1 where a mask stands. Rows have padding at their end, and documents end within blocks. */
const length = 12
const documents = [
  { ids: [3, 1, 4, 1, 5, 9, 2], masked: [0, 1, 0, 1, 1, 0, 1] },
  { ids: [6, 5, 3, 5], masked: [1, 1, 1, 1] },
  { ids: [8, 9, 7, 9, 3, 2, 3, 8, 4, 6], masked: [0, 0, 0, 1, 1, 1, 1, 1, 0, 1] }
]
const rows = [[0, 1], [2]]
const shape = { rows: rows.length, length }
const packedIds = packedArrays(
  documents.map(({ ids }) => ids),
  rows,
  { capacity: length, pad: 0 }
)
const clean = nextTokenLossData(packedIds, shape)
const masks = packedArrays(
  documents.map(({ masked }) => masked),
  rows,
  { capacity: length, pad: 0 }
).ids
const noisy = clean.ids.map((id, i) => (masks[i] === 1 ? mask : id))

/** Losses of all predictions, [rows x (length - 1)], 0 where there is none, by equations: the masked tokens of a block from the clean blocks before it and the block itself. */
const byBlocks = (config: ModelConfig, tokenShift = true): ReadonlyArray<number> => {
  const values = weightValues(config)
  const size = config.attentionBlockSize ?? Infinity
  const found = Array<number>(shape.rows * (length - 1)).fill(0)
  for (const [r, row] of rows.entries()) {
    let start = 0
    for (const document of row) {
      const { ids, masked } = documents[document]!
      for (let i = 1; i < ids.length; i++) {
        const block = Math.floor(i / size)
        const seen = ids
          .map((id, j) => (Math.floor(j / size) === block && masked[j] === 1 ? mask : id))
          .filter((_, j) => Math.floor(j / size) <= block)
        const { logits } = bruteForward(config, name => values[name]!, seen, false)
        const z = logits[tokenShift ? i - 1 : i]!
        const peak = Math.max(...z)
        found[r * (length - 1) + start + i - 1] =
          peak + Math.log(z.reduce((total, x) => total + Math.exp(x - peak), 0)) - z[ids[i]!]!
      }
      start += ids.length
    }
  }
  return found
}

const inOnePass = (config: ModelConfig, tokenShift = true) => {
  const parameters = new Map(parameterSpecs(config).map(({ name, shape: of }) => [name, input(name, "f32", of)]))
  const found = nextTokenLosses(config, name => parameters.get(name)!, inputsOf(nextTokenLossInputs(shape)), {
    causal: false,
    checkpointLayers: false,
    tokenShift,
    clean: input("clean", "i32", [shape.rows, length])
  })
  const data: Values = { ...weightValues(config), ...clean, ids: noisy, clean: clean.ids }
  return { parameters, found, data }
}

/** 1 for each prediction of a masked token of the same document. */
const learnt = Float32Array.from(byBlocks(tiny()), (loss, column) => {
  const row = Math.floor(column / (length - 1))
  return loss === 0 ? 0 : masks[column + row + 1]!
})

describe("the pass of block diffusion", () => {
  const sizes = [1, 2, 3, 5, 64, undefined]
  for (const family of ["qwen3", "qwen2"])
    for (const tokenShift of [true, false])
      it(`of ${family}, ${tokenShift ? "with" : "without"} the token shift: losses are those of each block behind clean ones`, () => {
        for (const attentionBlockSize of sizes) {
          const config = tiny({ family, ...(attentionBlockSize === undefined ? {} : { attentionBlockSize }) })
          const { data, found } = inOnePass(config, tokenShift)
          const losses = evaluateTensors({ losses: found.losses }, data, { exact: true })["losses"]!
          const expected = byBlocks(config, tokenShift)
          // Where nothing is predicted, a loss says nothing.
          for (const [i, value] of expected.entries())
            if (value !== 0)
              expect(Math.abs(losses[i]! - value), `block ${attentionBlockSize}, ${i}`).toBeLessThan(1e-5)
        }
      })

  it("has the gradient of separate passes, block by block, by the usual forward", () => {
    for (const attentionBlockSize of [1, 3, 5]) {
      const config = tiny({ attentionBlockSize })
      const { data, found, parameters } = inOnePass(config)
      const weights = Float32Array.from(learnt, (flag, i) => flag * (0.3 + (i % 4)))
      const names = [...parameters.keys()]
      const gradientsOf = (loss: Tensor, given: Values) => {
        const all = gradients(loss, [...parameters.values()])
        return evaluateTensors(Object.fromEntries(names.map((name, i) => [name, all[i]!])), given, { exact: true })
      }
      const whole = gradientsOf(sum(mul(found.losses, constant(weights, "f32", [weights.length]))), data)
      const parts = Array.from({ length: Math.ceil(length / attentionBlockSize) }, (_, block) => {
        const isIn = (place: number) => Math.floor(packedIds.positions[place]! / attentionBlockSize) === block
        const { losses } = nextTokenLosses(
          config,
          name => parameters.get(name)!,
          inputsOf(nextTokenLossInputs(shape)),
          { causal: false, checkpointLayers: false }
        )
        const own = weights.map((weight, column) => {
          const place = column + Math.floor(column / (length - 1)) + 1
          return isIn(place) ? weight : 0
        })
        return gradientsOf(sum(mul(losses, constant(own, "f32", [own.length]))), {
          ...data,
          ids: noisy.map((id, place) => (isIn(place) ? id : clean.ids[place]!))
        })
      })
      for (const name of names) {
        const scale = Math.max(...whole[name]!.map(Math.abs))
        expect(scale).toBeGreaterThan(0)
        for (const [i, value] of whole[name]!.entries()) {
          const expected = parts.reduce((total, part) => total + part[name]![i]!, 0)
          expect(Math.abs(value - expected), `${name} ${i}`).toBeLessThan(1e-9 * Math.max(1, scale))
        }
      }
    }
  })

  it("lets each token see what the definition says, in any packing", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 0, max: 3 }),
        (lengths, size, padding) => {
          const of = lengths.flatMap((count, document) =>
            Array.from({ length: count }, (_, position) => ({ document, position }))
          )
          for (let i = 0; i < padding; i++) of.push({ document: -1, position: 0 })
          const n = of.length
          const { added } = halvesMask(
            { segmentIds: input("segmentIds", "i32", [1, n]), positions: input("positions", "i32", [1, n]) },
            size,
            "f32"
          )
          const { seen } = evaluateTensors(
            { seen: lessEqual(constant(0, "f32"), added) },
            { segmentIds: of.map(({ document }) => document), positions: of.map(({ position }) => position) }
          )
          const expected = Array.from({ length: 2 * n }, (_, q) =>
            Array.from({ length: 2 * n }, (_key, k) => {
              const [query, key] = [of[q % n]!, of[k % n]!]
              const [bq, bk] = [query, key].map(({ position }) => Math.floor(position / size)) as [number, number]
              const [noisyQuery, noisyKey] = [q < n, k < n]
              if (key.document < 0 || key.document !== query.document) return 0
              if (noisyQuery) return Number(noisyKey ? bk === bq : bk < bq)
              return Number(!noisyKey && bk <= bq)
            })
          )
          expect([...seen!]).toEqual(expected.flat())
        }
      ),
      { numRuns: 60 }
    )
  })

  it("does not let a block see its own tokens through the clean half, whatever stands there", () => {
    const config = tiny({ attentionBlockSize: 3 })
    const { data, found } = inOnePass(config)
    // The clean tokens of the last block of each document.
    const changed = clean.ids.map((id, place) => {
      const document = rows[Math.floor(place / length)]![packedIds.segmentIds[place]!]
      if (document === undefined) return id
      const last = Math.floor((documents[document]!.ids.length - 1) / 3)
      return Math.floor(packedIds.positions[place]! / 3) === last ? (id + 1) % mask : id
    })
    const [before, after] = [clean.ids, changed].map(
      ids => evaluateTensors({ losses: found.losses }, { ...data, clean: ids }, { exact: true })["losses"]!
    )
    for (const [i, flag] of learnt.entries()) if (flag === 1) expect(after![i]).toBe(before![i])
  })

  it("balances the experts over the tokens of both halves, without padding", () => {
    const made = expertsConfig()
    const mixer = made.layers.find(layer => layer.mixer.kind === "attention")!.mixer
    const config: ModelConfig = {
      ...made,
      layers: made.layers.map(layer => ({ ...layer, mixer })),
      attentionBlockSize: 3,
      routerLoss: { coefficient: 1, added: true }
    }
    const { data, found } = inOnePass(config)
    const outputs = Object.fromEntries(found.routerLogits.map((logits, layer) => [`layer${layer}`, logits]))
    const { loss, ...logits } = evaluateTensors({ ...outputs, loss: found.routerLoss! }, data, { exact: true })
    // Rows of twice the length: places of both halves that hold a token.
    const held = Array.from({ length: shape.rows }, (_, r) =>
      [0, length].flatMap(half =>
        Array.from({ length }, (_place, i) => i)
          .filter(i => packedIds.segmentIds[r * length + i]! >= 0)
          .map(i => 2 * r * length + half + i)
      )
    ).flat()
    expect(held).toHaveLength(2 * 21)
    const count = 5
    const all = Object.values(logits).flatMap(values =>
      held.map(place => [...values.subarray(place * count, (place + 1) * count)])
    )
    const share = Array<number>(count).fill(0)
    const probability = Array<number>(count).fill(0)
    for (const row of all) {
      const e = row.map(Math.exp)
      const total = e.reduce((sum_, x) => sum_ + x, 0)
      for (const [expert, x] of e.entries()) probability[expert]! += x / total / all.length
      const order = [...row.keys()].sort((a, b) => row[b]! - row[a]!)
      for (const expert of order.slice(0, 2)) share[expert]! += 1 / all.length
    }
    expect(loss![0]).toBeCloseTo(count * share.reduce((total, f, expert) => total + f * probability[expert]!, 0), 6)
  })

  it("refuses a model with recurrent layers", () => {
    const config = hybridConfig()
    const weights = weightsOf(config, name => {
      const { shape: of } = parameterSpecs(config).find(spec => spec.name === name)!
      return input(name, "f32", of)
    })
    const rowsOf = (name: string) => input(name, "i32", [1, 4])
    const pass = () =>
      halvesForward(
        config,
        weights,
        { noisy: rowsOf("ids"), clean: rowsOf("clean") },
        { segmentIds: rowsOf("segmentIds"), positions: rowsOf("positions") }
      )
    expect(pass).toThrow(/recurrent layers, which cannot read a noisy and a clean half/)
  })

  it("costs twice the tokens, but for the head, and attention over rows of twice the length", () => {
    const config = tiny({ layers: 1 })
    const head = 6 * config.vocabSize * config.hiddenSize
    const once = (n: number) => trainingFlops(config, [n], { causal: false })
    expect(trainingFlops(config, [7], { causal: false, halves: true })).toBe(once(14) - 7 * head)
    const { flops, tokens } = work(config, packedIds.segmentIds, length, { causal: false, halves: true })
    expect(tokens).toBe(21)
    const each = documentLengths(packedIds.segmentIds, length).map(n => once(2 * n) - n * head)
    expect(flops).toBe(each.reduce((all, one) => all + one, 0))
  })
})
