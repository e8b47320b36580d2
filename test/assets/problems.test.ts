/** The problems of the tasks, and what judges answers to them: two programs that share nothing. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type Family, families, type MadeProblem, makeProblems, ranges, seed } from "../../src/corpora/problems.ts"
import { promptedTasks } from "../../src/evaluation/tasks/tasks.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

const assets = join(import.meta.dirname, "../../assets")
const shipped = <A>(name: string): ReadonlyArray<A> =>
  readFileSync(join(assets, name, "problems.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map(line => JSON.parse(line) as A)

const tokenizer = loadFrom(shippedDirectory)
const all = (family: Family) =>
  makeProblems(family, { first: 0, count: ranges.training.first + ranges.training.count, seed })
const outcome = (family: Family, problem: MadeProblem, response: string) =>
  promptedTasks[family].check(problem, response)

/** All ways to call four digits. */
const namings = ["1234", "1243", "1324", "1342", "1423", "1432"].flatMap(order =>
  [0, 1, 2, 3].map(shift => [...order].map((_, i) => order[(i + shift) % 4]!))
)

/** What a problem is whatever it calls things; the same for two problems only where one is the other with other names. */
const upToNames = (family: Family, prompt: string): string => {
  switch (family) {
    case "sort":
    case "order":
      return [...prompt.slice(prompt.indexOf(" "), -1).replaceAll(" ", "")].sort().join("")
    case "sudoku":
      return namings.map(names => prompt.replaceAll(/[1-4]/g, digit => names[Number(digit) - 1]!)).sort()[0]!
    case "solve":
      return prompt.slice("Solve".length).replaceAll(/[a-z]/g, "x")
    default:
      return prompt
  }
}

describe.each(families)("problems of the task %s", family => {
  const problems = all(family)
  const task = promptedTasks[family]

  it("are answered rightly, and the task takes them and the room that it gives is enough", () => {
    for (const problem of problems) {
      expect([problem.prompt, outcome(family, problem, problem.response)]).toEqual([problem.prompt, "right"])
      for (const answer of task.answers(problem)) expect(outcome(family, problem, answer)).toBe("right")
    }
    // One more for the end of the text.
    const most = Math.max(...problems.map(({ response }) => tokenizer.encode(response).length))
    expect(most).toBeLessThan(task.answerTokens)
  })

  it("are never answered rightly by an answer with a character changed, left out or put in, nor by half an answer, nor by two", () => {
    const characters = [...new Set(problems.slice(0, 50).flatMap(({ response }) => [...response]))]
    fc.assert(
      fc.property(
        fc.constantFrom(...problems.slice(0, 500)),
        fc.nat(100),
        fc.constantFrom(...characters, "", "%", ",", "5", "\n"),
        fc.constantFrom("instead", "before"),
        (problem, place, character, how) => {
          const right = problem.response.trim()
          const at = place % right.length
          const mutated = right.slice(0, at) + character + right.slice(how === "instead" ? at + 1 : at)
          fc.pre(!sameMeaning(mutated, right))
          // Steps of an equation that are changed otherwise may be other true ones.
          fc.pre(family !== "solve" || (how === "instead" && /\d/.test(character) && /\d/.test(right[at]!)))
          expect([mutated, outcome(family, problem, mutated)]).not.toEqual([mutated, "right"])
        }
      ),
      { numRuns: 1000 }
    )
    for (const problem of problems.slice(0, 200)) {
      const right = problem.response.trim()
      for (const wrong of [
        "",
        right.slice(0, right.length / 2),
        `${right} ${right}`,
        `${right} or ${right}`,
        `${right}%`,
        `${right},000`,
        `${right}x`,
        `It is ${right}`
      ])
        expect([wrong, outcome(family, problem, wrong)]).not.toEqual([wrong, "right"])
    }
  })

  it("are each another one, whatever they call things: held out, for conversion and in training", () => {
    expect(new Set(problems.map(({ prompt }) => upToNames(family, prompt))).size).toBe(problems.length)
  })

  it("ship as they are made: what is held out, and what is for conversion", () => {
    expect(shipped(family)).toEqual(problems.slice(0, 400))
    const conversion = shipped<MadeProblem & { readonly task: string }>("conversion").filter(
      ({ task }) => task === family
    )
    expect(conversion.map(({ prompt, response }) => ({ prompt, response }))).toEqual(problems.slice(400, 2400))
    expect([ranges.heldOut, ranges.conversion, ranges.training]).toEqual([
      { first: 0, count: 400 },
      { first: 400, count: 2000 },
      { first: 2400, count: 6000 }
    ])
  })

  it("are the same for the same seed, and others for another", () => {
    const some = (other: number) => makeProblems(family, { first: 10, count: 20, seed: other })
    expect(some(seed)).toEqual(problems.slice(10, 30))
    expect(some(seed + 100)).not.toEqual(some(seed))
  })
})

/** Blanks mean nothing, nor do a plus sign before a value and zeros before a number. */
const sameMeaning = (one: string, other: string): boolean => normal(one) === normal(other)
const normal = (text: string) =>
  text
    .replaceAll(/\s/g, "")
    .replaceAll(/=\+/g, "=")
    .replaceAll(/(?<!\d)0+(?=\d)/g, "")

describe("answers", () => {
  const judged = (family: Family, prompt: string, response: string) =>
    outcome(family, { prompt, response: "" }, response)

  it("to an equation are read whole, with any minus sign", () => {
    const prompt = "Solve 2x + 12 = 4x + 2:"
    expect(judged("solve", prompt, "x = 5")).toBe("right")
    expect(judged("solve", prompt, "x = +5")).toBe("right")
    for (const wrong of ["x = 5,000", "x = 5x", "x = 5%", "x = 5 or x = 7", "5", "y = 5", "x = 4, x = 5"])
      expect([wrong, judged("solve", prompt, wrong)]).not.toEqual([wrong, "right"])
    expect(judged("solve", "Solve x + 5 = 2:", "x = \u22123")).toBe("right")
    expect(judged("solve", "Solve x + 5 = 2:", "2x = \u22126, x = -3")).toBe("right")
    expect(judged("solve", "Solve x + 5 = 2:", "2x = 6, x = -3")).toBe("wrong")
  })

  it("to other tasks are those that were asked", () => {
    expect(judged("chain", "Mod 10, 3 + 4 - 1:", "3 + 4 = 7 - 1 = 6")).toBe("right")
    expect(judged("chain", "Mod 10, 3 + 4 - 1:", "3 + 4 = 7 - 2 = 5")).toBe("wrong")
    expect(judged("chain", "Mod 10, 3 + 4 - 1:", "3 + 4 = 8 - 1 = 7")).toBe("wrong")
    expect(judged("chain", "Mod 10, 3 + 4 - 1:", "6")).toBe("missing")
    expect(judged("fill", "Fill ? + 4 = ? - 1 = 6:", "3 + 4 = 7 - 1 = 6")).toBe("right")
    expect(judged("fill", "Fill ? + 4 = ? - 1 = 6:", "4 + 4 = 8 - 1 = 7")).toBe("wrong")
    expect(judged("sort", "Sort d a c:", "d c a")).toBe("wrong")
    expect(judged("order", "Order d a c:", "d c a")).toBe("right")
    expect(judged("order", "Order d a c:", "a c")).toBe("wrong")
    const sudoku = "Sudoku 1 0 0 4 / 0 0 1 0 / 0 1 0 0 / 4 0 0 1:"
    expect(judged("sudoku", sudoku, "1 2 3 4 / 3 4 1 2 / 2 1 4 3 / 4 3 2 1")).toBe("right")
    expect(judged("sudoku", sudoku, "2 1 3 4 / 3 4 1 2 / 1 2 4 3 / 4 3 2 1")).toBe("wrong")
  })
})
