/** Equations with their solutions step by step: made at random, solved by a program, and checked by another one. */
import { Result } from "effect"
import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { answerOf, equationOf, holds, parseEquation } from "../../src/evaluation/tasks/equations.ts"
import type { UnpackedPackage } from "../../src/corpora/packages.ts"
import { integer, pick, type Random, seeded } from "../../src/corpora/random.ts"

export interface Problem {
  readonly idx: number
  readonly prompt: string
  readonly response: string
  /** The value of the unknown, for example `-7/5`. */
  readonly answer: string
  readonly messages: ReadonlyArray<{ readonly role: "user" | "assistant"; readonly content: string }>
}

/** One step of the solver; we use its name and the equation after it. */
interface Step {
  readonly changeType: string
  readonly oldEquation: { readonly ascii: () => string } | null
  readonly newEquation: { readonly ascii: () => string }
}

export type Solver = (equation: string) => ReadonlyArray<Step>

/** Runs `use` with the solver, unpacked into a temporary directory. */
export const withSolver = async <A>(
  packages: ReadonlyArray<UnpackedPackage>,
  use: (solve: Solver) => A
): Promise<A> => {
  const directory = await mkdtemp(join(tmpdir(), "solver-"))
  try {
    for (const pkg of packages) {
      for (const [path, content] of pkg.files) {
        const target = join(directory, "node_modules", pkg.name, path)
        await mkdir(dirname(target), { recursive: true })
        await writeFile(target, content)
      }
    }
    const require = createRequire(join(directory, "index.js"))
    const { solveEquation } = require("mathsteps") as { readonly solveEquation: Solver }
    return use(solveEquation)
  } finally {
    await rm(directory, { recursive: true })
  }
}

const unknowns = ["x", "y", "z", "n", "t", "a"] as const

/** A whole number from -most to most, but not 0. */
const nonZero = (random: Random, most: number): number => integer(random, 1, most) * pick(random, [-1, 1])

/** `2x`, `-x`, `x`. */
const times = (coefficient: number, unknown: string): string =>
  coefficient === 1 ? unknown : coefficient === -1 ? `-${unknown}` : `${coefficient}${unknown}`

/** A term after others: ` + 3`, ` - 2x`. */
const plus = (coefficient: number, unknown = ""): string => {
  const size = Math.abs(coefficient)
  const term = unknown === "" ? String(size) : times(size, unknown)
  return `${coefficient < 0 ? " - " : " + "}${term}`
}

/** The kinds of equation, from one step to brackets and fractions on both sides. */
const kinds: ReadonlyArray<(random: Random, v: string) => string> = [
  (r, v) => `${times(nonZero(r, 12), v)}${plus(nonZero(r, 20))} = ${nonZero(r, 40)}`,
  (r, v) => `${integer(r, 1, 20)} - ${times(integer(r, 1, 9), v)} = ${nonZero(r, 30)}`,
  (r, v) => `${times(nonZero(r, 9), v)}${plus(nonZero(r, 20))} = ${times(nonZero(r, 9), v)}${plus(nonZero(r, 20))}`,
  (r, v) => `${times(nonZero(r, 9), v)}${plus(nonZero(r, 9), v)}${plus(nonZero(r, 20))} = ${nonZero(r, 30)}`,
  (r, v) => `${integer(r, 2, 9)}(${v}${plus(nonZero(r, 9))}) = ${times(nonZero(r, 9), v)}${plus(nonZero(r, 20))}`,
  (r, v) =>
    `${times(nonZero(r, 9), v)} - ${integer(r, 2, 6)}(${times(integer(r, 1, 5), v)}${plus(nonZero(r, 9))}) = ` +
    `${integer(r, 2, 6)}(${v}${plus(nonZero(r, 9))})${plus(nonZero(r, 20))}`,
  (r, v) => `${v}/${integer(r, 2, 9)}${plus(nonZero(r, 12))} = ${nonZero(r, 12)}`,
  (r, v) => `${v}/${integer(r, 2, 6)}${plus(nonZero(r, 9))} = ${v}/${integer(r, 2, 6)}${plus(nonZero(r, 9))}`,
  (r, v) =>
    `(${times(integer(r, 1, 6), v)}${plus(nonZero(r, 9))})/${integer(r, 2, 6)} = ` +
    `(${times(integer(r, 1, 6), v)}${plus(nonZero(r, 9))})/${integer(r, 2, 6)}`
]

/** `SUBTRACT_FROM_BOTH_SIDES` as a person reads it. */
const stepName = (changeType: string): string => {
  const text = changeType.toLowerCase().replaceAll("_", " ")
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`
}

/** Answers with larger numbers are left out, as a textbook would. */
const largestNumber = 100n

/** The problem of an equation; `undefined` when the solver finds no answer, or one of its steps cannot be confirmed. */
const problemOf = (equation: string, unknown: string, solve: Solver, idx: number): Problem | undefined => {
  const steps = solve(equation)
  const last = steps.at(-1)?.newEquation.ascii()
  if (last?.startsWith(`${unknown} = `) !== true) return undefined
  const prompt = `Solve for ${unknown}: ${equation}\n`
  const response = [
    ...steps.map(step => `${stepName(step.changeType)}: ${step.newEquation.ascii()}`),
    `Answer: ${last}`
  ].join("\n")
  const value = answerOf(response, unknown)
  if (value === undefined || value.denominator > largestNumber) return undefined
  if (value.numerator > largestNumber || value.numerator < -largestNumber) return undefined

  // The answer and every equation on the way must be true at the answer, and the equation false elsewhere.
  const lines = [equation, ...steps.map(step => step.newEquation.ascii())]
  const confirmed = lines.every(line => {
    const parsed = parseEquation(line)
    return Result.isSuccess(parsed) && holds(parsed.success, value)
  })
  const asked = equationOf(prompt)
  const elsewhere = { numerator: value.numerator + value.denominator, denominator: value.denominator }
  if (!confirmed || Result.isFailure(asked) || holds(asked.success, elsewhere)) return undefined

  return {
    idx,
    prompt,
    response,
    answer: last.slice(`${unknown} = `.length),
    messages: [
      { role: "user", content: prompt.trim() },
      { role: "assistant", content: response }
    ]
  }
}

/** Equations that are tried for each one that is taken; about every second one is taken. */
const mostTries = 100

/** `count` problems, no two of which differ only in signs and in what the unknown is called. */
export const makeEquations = (solve: Solver, count: number, seed: number): ReadonlyArray<Problem> => {
  const random = seeded(seed)
  const seen = new Set<string>()
  const problems: Array<Problem> = []
  for (let tried = 0; problems.length < count; tried += 1) {
    if (tried > mostTries * count) throw new Error(`only ${problems.length} of ${count} equations were solved`)
    const unknown = pick(random, unknowns)
    const kind = kinds[problems.length % kinds.length]
    if (kind === undefined) break
    const equation = kind(random, unknown)
    const shape = equation.replaceAll(/[a-z]/g, "x").replaceAll(/[-+ ]+/g, " ")
    if (seen.has(shape)) continue
    seen.add(shape)
    const problem = problemOf(equation, unknown, solve, problems.length)
    if (problem !== undefined) problems.push(problem)
  }
  return problems
}

/** What an equation reads like as a document. */
export const equationText = ({ prompt, response }: Problem): string => `${prompt}${response}`
