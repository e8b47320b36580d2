import { Result } from "effect"
import { describe, expect, it } from "vitest"
import { makeEquations, type Solver } from "../../scripts/assets/equations.ts"
import { parseEquation, type Rational, rational } from "../../src/evaluation/tasks/equations.ts"
import { equations } from "../../stages/evaluate-equations.ts"

const show = ({ denominator, numerator }: Rational) =>
  denominator === 1n ? String(numerator) : `${numerator}/${denominator}`

/** Solves a linear equation from its differences at 0 and 1, in one step; `shift` makes it wrong. */
const solver =
  (shift: bigint): Solver =>
  text => {
    const equation = Result.getOrThrow(parseEquation(text))
    const at = (value: bigint) => equation.difference({ numerator: value, denominator: 1n })
    const [d0, d1] = [at(0n), at(1n)]
    if (d0 === undefined || d1 === undefined) return []
    const slope = d1.numerator * d0.denominator - d0.numerator * d1.denominator
    const root = rational(-d0.numerator * d1.denominator + shift * slope, slope)
    if (root === undefined) return []
    return [
      {
        changeType: "DO_IT_ALL",
        oldEquation: null,
        newEquation: { ascii: () => `${equation.unknown} = ${show(root)}` }
      }
    ]
  }

describe("makeEquations", () => {
  it("gives problems whose answers are right, with no equation twice", () => {
    const problems = makeEquations(solver(0n), 300, 1)
    expect(problems.map(({ idx }) => idx)).toEqual(Array.from({ length: 300 }, (_, i) => i))
    for (const { prompt, response } of problems) {
      expect(equations.check({ prompt, response }, response)).toBe("right")
      expect(response).toMatch(/^Do it all: (.+)\nAnswer: \1$/)
    }
    expect(new Set(problems.map(({ prompt }) => prompt.replaceAll(/[a-z] ?[-+]?/g, ""))).size).toBe(300)
  })

  it("is the same for the same seed, and another list for another", () => {
    expect(makeEquations(solver(0n), 50, 1)).toEqual(makeEquations(solver(0n), 50, 1))
    expect(makeEquations(solver(0n), 50, 2)).not.toEqual(makeEquations(solver(0n), 50, 1))
  })

  it("a longer list begins like a shorter one", () => {
    expect(makeEquations(solver(0n), 60, 1).slice(0, 40)).toEqual(makeEquations(solver(0n), 40, 1))
  })

  it("takes nothing from a solver that is wrong", () => {
    expect(() => makeEquations(solver(1n), 5, 1)).toThrow("only 0 of 5 equations were solved")
  })
})
