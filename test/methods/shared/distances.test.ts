/** Losses of alignment against formulas in float64, and their gradients against central differences. */
import { describe, expect, it } from "vitest"
import {
  alignmentLoss,
  angularDistance,
  contrastiveLoss,
  cosineDistance,
  cosinesOf,
  pooled
} from "../../../src/methods/shared/alignment/distances.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { acos } from "../../../src/tensor/composites.ts"
import { gradients } from "../../../src/tensor/autodiff.ts"
import { constant, input } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import type { Tensor } from "../../../src/tensor/Tensor.ts"
import { subgoals } from "../../../src/methods/shared/alignment/subgoals.ts"

const [n, d] = [5, 4]
const layerWeights = [0.75, 0, 0.25]
/** Position 2 is left out. */
const positionWeights = [0.25, 0.25, 0, 0.25, 0.25]

type Vectors = ReadonlyArray<ReadonlyArray<number>>
const vectors = (name: string): Vectors => Array.from({ length: n }, (_, i) => [...normals(randomKey(3, name, i), d)])
const layers = layerWeights.map((_, l) => ({ student: vectors(`student ${l}`), teacher: vectors(`teacher ${l}`) }))

const dot = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number => a.reduce((all, x, i) => all + x * b[i]!, 0)
const cosine = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number =>
  dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))

/** A loss and its gradients with respect to all student states, in float64. */
const evaluated = (
  loss: (
    pairs: ReadonlyArray<{ readonly student: Tensor; readonly teacher: Tensor }>,
    ofLayers: Tensor,
    ofPositions: Tensor
  ) => Tensor,
  given: typeof layers = layers
) => {
  const pairs = given.map((_, l) => ({
    student: input(`student${l}`, "f32", [n, d]),
    teacher: input(`teacher${l}`, "f32", [n, d])
  }))
  const value = loss(pairs, input("layers", "f32", [layerWeights.length]), input("positions", "f32", [n]))
  const found = gradients(
    value,
    pairs.map(({ student }) => student)
  )
  const values = Object.fromEntries(
    given.flatMap(({ student, teacher }, l) => [
      [`student${l}`, student.flat()],
      [`teacher${l}`, teacher.flat()]
    ])
  )
  const out = evaluateTensors(
    { value, ...Object.fromEntries(found.map((gradient, l) => [`gradient${l}`, gradient])) },
    { ...values, layers: layerWeights, positions: positionWeights },
    { exact: true }
  )
  return { value: out["value"]![0]!, gradients: given.map((_, l) => [...out[`gradient${l}`]!]) }
}

/** Central differences of a float64 formula. */
const expectGradients = (found: ReadonlyArray<ReadonlyArray<number>>, formula: (given: typeof layers) => number) => {
  const step = 1e-5
  for (const [l, gradient] of found.entries())
    for (let i = 0; i < n * d; i++) {
      const moved = (by: number) =>
        formula(
          layers.map((layer, k) =>
            k === l
              ? { ...layer, student: layer.student.map((row, r) => row.map((x, c) => (r * d + c === i ? x + by : x))) }
              : layer
          )
        )
      expect(gradient[i]).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 6)
    }
}

const meanOf =
  (distance: (cosine: number) => number) =>
  (given: typeof layers): number =>
    given.reduce(
      (all, { student, teacher }, l) =>
        all +
        layerWeights[l]! *
          student.reduce((some, row, i) => some + positionWeights[i]! * distance(cosine(row, teacher[i]!)), 0),
      0
    )

describe("distances", () => {
  const lossWith = (distance: typeof cosineDistance) =>
    evaluated((pairs, ofLayers, ofPositions) => alignmentLoss(pairs.map(cosinesOf), ofLayers, ofPositions, distance))

  it("are 1 minus the cosine", () => {
    const formula = meanOf(c => 1 - c)
    const { gradients: found, value } = lossWith(cosineDistance)
    expect(value).toBeCloseTo(formula(layers), 12)
    expectGradients(found, formula)
  })

  it("or the angle beyond a margin", () => {
    for (const margin of [0, 1.2]) {
      const formula = meanOf(c => Math.max(0, Math.acos(c) - margin))
      const { gradients: found, value } = lossWith(angularDistance(margin))
      expect(value).toBeCloseTo(formula(layers), 7)
      expectGradients(found, formula)
    }
    // Some angles are below the margin, and some above.
    const angles = layers[0]!.student.map((row, i) => Math.acos(cosine(row, layers[0]!.teacher[i]!)))
    expect(Math.min(...angles)).toBeLessThan(1.2)
    expect(Math.max(...angles)).toBeGreaterThan(1.2)
  })

  it("of identical states are 0, with finite gradients", () => {
    const same = layers.map(({ teacher }) => ({ student: teacher, teacher }))
    for (const distance of [cosineDistance, angularDistance(0)]) {
      const { gradients: found, value } = evaluated(
        (pairs, ofLayers, ofPositions) => alignmentLoss(pairs.map(cosinesOf), ofLayers, ofPositions, distance),
        same
      )
      // The angle stops at arccos(1 - 1e-6).
      expect(Math.abs(value)).toBeLessThan(2e-3)
      expect(found.flat().every(Number.isFinite)).toBe(true)
    }
  })

  it("know the arc cosine to the precision of f32, in which constants are kept", () => {
    const x = Array.from({ length: 401 }, (_, i) => (i - 200) / 200)
    const { y } = evaluateTensors({ y: acos(input("x", "f32", [401])) }, { x }, { exact: true })
    for (const [i, value] of y!.entries()) expect(Math.abs(value - Math.acos(x[i]!))).toBeLessThan(2 ** -22)
  })
})

describe("infoNCE", () => {
  const temperature = 0.3
  const loss = (given: typeof layers) =>
    evaluated((pairs, ofLayers, ofPositions) => contrastiveLoss(pairs, ofLayers, ofPositions, temperature), given)
  const unit = (v: ReadonlyArray<number>) => v.map(x => x / Math.sqrt(dot(v, v)))
  const formula = (given: typeof layers): number => {
    const mixed = (of: "student" | "teacher") =>
      Array.from({ length: n }, (_, i) =>
        Array.from({ length: d }, (_element, c) =>
          given.reduce((all, layer, l) => all + layerWeights[l]! * unit(layer[of][i]!)[c]!, 0)
        )
      )
    const [s, t] = [mixed("student"), mixed("teacher")]
    const among = [0, 1, 3, 4]
    return among.reduce((all, i) => {
      const scores = among.map(j => dot(s[i]!, t[j]!) / temperature)
      return (
        all + 0.25 * (Math.log(scores.reduce((some, x) => some + Math.exp(x), 0)) - dot(s[i]!, t[i]!) / temperature)
      )
    }, 0)
  }

  it("is the cross-entropy of telling the own teacher among the positions that count", () => {
    const { gradients: found, value } = loss(layers)
    expect(value).toBeCloseTo(formula(layers), 7)
    expectGradients(found, formula)
  })

  it("is log n where all states are the same, and less where each has its own", () => {
    const row = [1, 2, 3, 4]
    const all = layers.map(() => ({
      student: Array.from({ length: n }, () => row),
      teacher: Array.from({ length: n }, () => row)
    }))
    expect(loss(all).value).toBeCloseTo(Math.log(4), 12)
    expect(loss(layers.map(({ teacher }) => ({ student: teacher, teacher }))).value).toBeLessThan(Math.log(4))
  })
})

describe("blocks of sequences", () => {
  it("are contiguous, as equal as they can be, and pool the mean of their states", () => {
    const [{ blockShares, blockWeights, blocks }] = subgoals(
      [
        [
          { start: 0, size: 7 },
          { start: 7, size: 2 }
        ]
      ],
      { places: 12, count: 3, averaging: "tokens" }
    ) as [{ readonly [name: string]: Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer> }]
    expect([...blocks!.subarray(0, 9)]).toEqual([0, 0, 0, 1, 1, 2, 2, 3, 4])
    expect([...blockWeights!]).toEqual([...Array<number>(5).fill(Math.fround(0.2)), ...Array<number>(7).fill(0)])
    const x = Array.from({ length: 12 }, (_, i) => i * i)
    const { y } = evaluateTensors(
      {
        y: pooled(
          input("x", "f32", [12, 1]),
          constant(Int32Array.from(blocks!), "i32", [12]),
          constant(Float32Array.from(blockShares!), "f32", [12])
        )
      },
      { x },
      { exact: true }
    )
    for (const [i, expected] of [5 / 3, 12.5, 30.5, 49, 64, 0].entries()) expect(y![i]).toBeCloseTo(expected, 5)
  })

  it("of all micro-batches weigh the same", () => {
    const weights = (averaging: "tokens" | "micro-batches") =>
      subgoals([[{ start: 0, size: 8 }], [{ start: 0, size: 1 }], []], { places: 8, count: 4, averaging }).map(
        ({ blockWeights }) => [...(blockWeights as Float32Array)].reduce((all, x) => all + x, 0)
      )
    for (const [i, share] of [0.8, 0.2, 0].entries()) expect(weights("tokens")[i]).toBeCloseTo(share, 6)
    for (const [i, share] of [0.5, 0.5, 0].entries()) expect(weights("micro-batches")[i]).toBeCloseTo(share, 6)
  })
})
