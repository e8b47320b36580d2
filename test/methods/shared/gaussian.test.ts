/** Gaussians: divergence in closed form against Monte Carlo, gradients of draws against differences. */
import { describe, expect, it } from "vitest"
import { bounded, klPerElement, reparameterised, withFreeBits } from "../../../src/methods/shared/latents/gaussian.ts"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { gradients } from "../../../src/tensor/autodiff.ts"
import { constant, exp, input, mul, sin, sum } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"

const mean = [0.7, -1.3, 0]
const logSigma = [-0.5, 0.4, 0]
const gaussian = () => ({ mean: input("mean", "f32", [3]), logSigma: input("logSigma", "f32", [3]) })
const values = { mean, logSigma }

describe("the divergence from the standard normal distribution", () => {
  it("is the mean of log q - log p over draws, and 0 for that distribution itself", () => {
    const kl = evaluateTensors({ kl: klPerElement(gaussian()) }, values, { exact: true })["kl"]!
    const draws = 200_000
    for (const i of [0, 1]) {
      const noise = normals(randomKey(4, "monte carlo", i), draws)
      let total = 0
      for (const e of noise) {
        const z = mean[i]! + Math.exp(logSigma[i]!) * e
        total += -logSigma[i]! - (e * e) / 2 + (z * z) / 2
      }
      expect(kl[i]).toBeCloseTo(total / draws, 1)
      expect(Math.abs(kl[i]! - total / draws)).toBeLessThan(0.02)
    }
    expect(kl[2]).toBe(0)
  })

  it("does not fall below the free nats, and has no gradient there", () => {
    const q = gaussian()
    const kl = klPerElement(q)
    const [gradient] = gradients(sum(withFreeBits(kl, 0.4)), [q.mean])
    const found = evaluateTensors({ free: withFreeBits(kl, 0.4), gradient: gradient! }, values, { exact: true })
    expect([...found["free"]!].map((x, i) => x > 0.4 || i === 2)).toEqual([true, true, true])
    expect(found["free"]![2]).toBeCloseTo(0.4, 7)
    expect(found["gradient"]![2]).toBe(0)
    expect(found["gradient"]![1]).toBeCloseTo(-1.3, 12)
  })
})

describe("a reparameterised draw", () => {
  it("has the gradients of central differences, in mean and deviation", () => {
    const noise = constant(normals(randomKey(5, "noise"), 3), "f32", [3])
    const loss = (q: ReturnType<typeof gaussian>) => sum(mul(sin(reparameterised(q, noise)), 2))
    const q = gaussian()
    const [gm, gs] = gradients(loss(q), [q.mean, q.logSigma])
    const found = evaluateTensors({ gm: gm!, gs: gs! }, values, { exact: true })
    const at = (changed: typeof values): number =>
      evaluateTensors({ loss: loss(gaussian()) }, changed, { exact: true })["loss"]![0]!
    const h = 1e-5
    for (const [name, gradient] of [
      ["mean", found["gm"]!],
      ["logSigma", found["gs"]!]
    ] as const)
      for (const i of [0, 1, 2]) {
        const moved = (by: number) => ({ ...values, [name]: values[name].map((x, j) => (j === i ? x + by : x)) })
        expect(gradient[i]).toBeCloseTo((at(moved(h)) - at(moved(-h))) / (2 * h), 7)
      }
  })

  it("is its mean when the deviation vanishes; deviations stay between exp(-10) and 10", () => {
    const noise = constant(Float32Array.of(3, -2, 1), "f32", [3])
    const draw = reparameterised(
      { mean: input("mean", "f32", [3]), logSigma: bounded(input("logSigma", "f32", [3])) },
      noise
    )
    const found = evaluateTensors({ draw }, { mean, logSigma: [-50, -50, 50] }, { exact: true })["draw"]!
    expect(found[0]).toBeCloseTo(0.7, 3)
    expect(found[1]).toBeCloseTo(-1.3, 3)
    expect(found[2]).toBeCloseTo(10, 6)
    const sigma = evaluateTensors({ s: exp(bounded(input("x", "f32", [1]))) }, { x: [-50] }, { exact: true })["s"]!
    expect(sigma[0]).toBeCloseTo(Math.exp(-10), 12)
  })
})
