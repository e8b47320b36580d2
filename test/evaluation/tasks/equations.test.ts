import { Result } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decodeBy } from "../../../src/formats/records.ts"
import {
  answerOf,
  EquationError,
  equationOf,
  holds,
  parseEquation,
  parseRational,
  type Rational,
  rational
} from "../../../src/evaluation/tasks/equations.ts"
import { equations } from "../../../stages/evaluate-equations.ts"

const value = (numerator: number, denominator = 1): Rational => {
  const result = rational(BigInt(numerator), BigInt(denominator))
  if (result === undefined) throw new Error("denominator of zero")
  return result
}

const equation = (text: string) => Result.getOrThrow(parseEquation(text))
const problem = (text: string) => {
  const result = parseEquation(text)
  if (Result.isSuccess(result)) throw new Error(`${text} was read`)
  return result.failure.message
}

const coefficient = fc.integer({ min: -50, max: 50 }).filter(n => n !== 0)
const signed = (n: number) => (n < 0 ? `- ${-n}` : `+ ${n}`)

describe("holds", () => {
  it("is true of the solution of ax + b = c, and of nothing else", () => {
    fc.assert(
      fc.property(coefficient, coefficient, coefficient, coefficient, (a, b, c, off) => {
        const line = equation(`${a}x ${signed(b)} = ${c}`)
        const solution = value(c - b, a)
        expect(holds(line, solution)).toBe(true)
        expect(holds(line, value(c - b + off, a))).toBe(false)
      })
    )
  })

  it("is true of the solution of (ax + b)/m = c - (x + d)/n, in exact fractions", () => {
    fc.assert(
      fc.property(coefficient, coefficient, coefficient, coefficient, coefficient, coefficient, (a, b, m, c, d, n) => {
        fc.pre(a * n + m !== 0)
        const line = equation(`(${a}x ${signed(b)})/${m} = ${c} - (x ${signed(d)})/${n}`)
        expect(holds(line, value(c * m * n - d * m - b * n, a * n + m))).toBe(true)
      })
    )
  })

  it.each<[string, number, number]>([
    ["2x = 3", 3, 2],
    ["1/2 x = 3", 6, 1],
    ["x/2/3 = 1", 6, 1],
    ["3(x - 1) = 2(x + 1)", 5, 1],
    ["-x * -1 = 4", 4, 1],
    ["2 - -x = 0", -2, 1],
    ["0.5x + .5 = 1".replace(" .5", " 0.5"), 1, 1],
    ["(2x)(3) = 12", 2, 1],
    ["-1/6 x * 6/-1 = -3 * 6/-1", 18, 1]
  ])("%s at %i/%i", (text, numerator, denominator) => {
    expect(holds(equation(text), value(numerator, denominator))).toBe(true)
    expect(holds(equation(text), value(numerator + 1, denominator))).toBe(false)
  })

  it("is false where a denominator is zero", () => {
    expect(holds(equation("4/x = 2"), value(2))).toBe(true)
    expect(holds(equation("4/x = 2"), value(0))).toBe(false)
  })
})

describe("parseEquation", () => {
  it.each([
    ["2x + 3", '"2x + 3", position 7: expected "="'],
    ["2 = 2", '"2 = 2", position 1: there is no unknown'],
    ["x + y = 2", '"x + y = 2", position 5: a second unknown y beside x'],
    ["sin(x) = 1", '"sin(x) = 1", position 1: expected an unknown of one letter, found a word'],
    ["2(x + 1 = 4", '"2(x + 1 = 4", position 2: this bracket is not closed'],
    ["x = ", '"x = ", position 5: the text ends too early'],
    ["x = 3 = 4", '"x = 3 = 4", position 7: expected the end of the equation'],
    ["x = *3", '"x = *3", position 5: unexpected "*"'],
    [`${"(".repeat(60)}x = 1`, `"${"(".repeat(60)}x = 1", position 52: brackets or signs nested deeper than 50`],
    [`x = ${"9".repeat(101)}`, `"x = ${"9".repeat(76)}", position 5: a number of more than 100 digits`]
  ])("%s is an error with its place", (text, message) => {
    expect(problem(text)).toBe(message)
  })

  it("reads or refuses any text, however long or nested", () => {
    const hostile = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(..."x12(+-*/=). ") }),
      fc.tuple(fc.constantFrom("(", "-", "9", "x", "(x+"), fc.nat(200_000)).map(([part, times]) => part.repeat(times)),
      fc.nat(900).map(times => `x${"*9".repeat(times)} = 1`)
    )
    fc.assert(
      fc.property(hostile, text => {
        const result = parseEquation(text)
        if (Result.isFailure(result)) expect(result.failure).toBeInstanceOf(EquationError)
        else holds(result.success, value(7, 3))
      }),
      { numRuns: 1000 }
    )
  })
})

describe("answers", () => {
  it("numbers are whole, decimal or fractions", () => {
    expect(["3", " -3 ", "7/5", "-7 / 5", "7/-5", "2.50", "6/4"].map(parseRational)).toEqual([
      value(3),
      value(-3),
      value(7, 5),
      value(-7, 5),
      value(-7, 5),
      value(5, 2),
      value(3, 2)
    ])
    expect(["", "x", "1/0", "1/2/3", "1.2.3", "--1", "1e3", "NaN"].map(parseRational)).toEqual(
      Array.from({ length: 8 }, () => undefined)
    )
  })

  it("the last answer of a response counts, for the unknown that was asked for", () => {
    expect(answerOf("x = 9\nAnswer: x = 1\nNo.\nAnswer: x = -7/2", "x")).toEqual(value(-7, 2))
    expect(answerOf("Answer: x = 4.", "x")).toEqual(value(4))
    expect(answerOf("Answer: y = 4", "x")).toBeUndefined()
    expect(answerOf("x = 4", "x")).toBeUndefined()
    expect(answerOf("Answer: x = four", "x")).toBeUndefined()
  })

  it("an answer is read whole, with any sign", () => {
    expect(answerOf("Answer: x = +5", "x")).toEqual(value(5))
    expect(answerOf("Answer: x = \u22125 / 2.", "x")).toEqual(value(-5, 2))
    for (const text of ["5,000", "5x", "5%", "5 or x = 7", "5 5", "5 m", "5/"])
      expect([text, answerOf(`Answer: x = ${text}`, "x")]).toEqual([text, undefined])
  })

  it("are right, wrong or missing", () => {
    const prompt = "Solve for n: 3n + 4 = 10\n"
    const check = (response: string) => equations.check({ prompt, response: "" }, response)
    expect(check("Answer: n = 2")).toBe("right")
    expect(check("Answer: n = 4/2")).toBe("right")
    expect(check("Answer: n = 3")).toBe("wrong")
    expect(check("I do not know.")).toBe("missing")
  })

  it("a prompt without an equation is an error, and so is one that asks for another unknown", () => {
    const message = (prompt: string) => Result.getOrThrow(Result.flip(equationOf(prompt))).message
    expect(message("Hello")).toBe('no equation found; a prompt ends in "for x: " and the equation, got "Hello"')
    expect(message("Solve for x: 2y = 1")).toBe("the prompt asks for x, but its equation is in y")
    const row = decodeBy(equations.problem)({ prompt: "Hello", response: "" })
    expect(Result.getOrThrow(Result.flip(row))).toMatchObject({
      path: ["prompt"],
      what: expect.stringMatching(/^must end in an equation: no equation found; /) as unknown
    })
  })
})
