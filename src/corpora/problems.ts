/**
 * Problems that a program can check, made at random: what the small teacher learns beside text. Every value of a worked answer follows from a few that stand close
 * by, so that a small model can learn it. What judges answers (src/evaluation/tasks) shares nothing with this file.
 */
import type { Array as Arr } from "effect"
import { integer, pick, type Random, seeded, shuffled } from "./random.ts"

export interface MadeProblem {
  readonly prompt: string
  readonly response: string
}

/** A problem, and what it is up to names: no two problems of a family are the same in that. */
interface Draft extends MadeProblem {
  readonly identity: string
}

type Draw = (random: Random) => Draft | undefined

/** Both included. */
const range = (low: number, high: number): ReadonlyArray<number> =>
  Array.from({ length: high - low + 1 }, (_, i) => low + i)

const modulo10 = (value: number): number => ((value % 10) + 10) % 10

const operations = {
  "+": (a: number, b: number) => modulo10(a + b),
  "-": (a: number, b: number) => modulo10(a - b),
  "*": (a: number, b: number) => modulo10(a * b)
} as const
type Sign = keyof typeof operations

const stepsOfChain = 5

/** `3 + 4 - 1` and `3 + 4 = 7 - 1 = 6`: a value, and steps from it, each modulo 10. */
const makeChain = (random: Random, signs: ReadonlyArray<Sign>) => {
  const first = integer(random, 0, 9)
  const steps = range(1, stepsOfChain).map(() => [pick(random, signs), integer(random, 1, 9)] as const)
  const values = [first]
  for (const [sign, operand] of steps) values.push(operations[sign](values.at(-1)!, operand))
  return { values, steps, question: steps.map(([sign, operand]) => ` ${sign} ${operand}`).join("") }
}

const workedOut = ({ steps, values }: ReturnType<typeof makeChain>, shown: (value: number, i: number) => string) =>
  ` ${shown(values[0]!, 0)}${steps.map(([sign, operand], i) => ` ${sign} ${operand} = ${shown(values[i + 1]!, i + 1)}`).join("")}`

/** Steps that follow one another. */
const chain: Draw = random => {
  const made = makeChain(random, ["+", "-", "*"])
  const question = `${made.values[0]}${made.question}`
  return { identity: question, prompt: `Mod 10, ${question}:`, response: workedOut(made, String) }
}

/** The same with the last value given and all others missing: each follows from the one behind it, so that the order of reading is the wrong one. */
const fill: Draw = random => {
  const made = makeChain(random, ["+", "-"])
  const hidden = workedOut(made, (value, i) => (i === stepsOfChain ? String(value) : "?"))
  return { identity: hidden, prompt: `Fill${hidden}:`, response: workedOut(made, String) }
}

/** Two letters that the shipped tokenizer writes as two tokens are left out. */
const letters = [..."abcdefghjklmnoprstuvwxyz"]
const lettersToSort = 6

/** No two problems have the same letters. */
const sorting =
  (title: string, answer: (random: Random, sorted: ReadonlyArray<string>) => ReadonlyArray<string>): Draw =>
  random => {
    const asked = shuffled(random, letters).slice(0, lettersToSort)
    const sorted = [...asked].sort()
    return {
      identity: sorted.join(""),
      prompt: `${title} ${asked.join(" ")}:`,
      response: ` ${answer(random, sorted).join(" ")}`
    }
  }

const sort = sorting("Sort", (_, sorted) => sorted)
/** Up and down are both right; which one the answer shows is drawn. */
const order = sorting("Order", (random, sorted) => (random() < 0.5 ? sorted : [...sorted].reverse()))

type Grid = ReadonlyArray<number>
const side = 4
const box = 2

/** All 288 grids in which each row, each column and each box of 2 x 2 holds 1 to 4. */
const grids: ReadonlyArray<Grid> = (() => {
  const found: Array<Grid> = []
  const clashes = (grid: Grid, at: number, digit: number) =>
    grid.some((other, cell) => {
      const [row, column] = [Math.floor(cell / side), cell % side]
      const [ownRow, ownColumn] = [Math.floor(at / side), at % side]
      const sameBox =
        Math.floor(row / box) === Math.floor(ownRow / box) && Math.floor(column / box) === Math.floor(ownColumn / box)
      return other === digit && (row === ownRow || column === ownColumn || sameBox)
    })
  const extend = (grid: Grid): void => {
    if (grid.length === side * side) return void found.push(grid)
    for (const digit of range(1, side)) if (!clashes(grid, grid.length, digit)) extend([...grid, digit])
  }
  extend([])
  return found
})()

const shownGrid = (grid: Grid): string =>
  range(0, side - 1)
    .map(row => grid.slice(row * side, (row + 1) * side).join(" "))
    .join(" / ")

/** 6 to 9 cells are open (0), and one grid alone fits. Calling the digits otherwise makes no other problem. */
const sudoku: Draw = random => {
  const solution = pick(random, grids)
  const open = new Set(shuffled(random, range(0, side * side - 1)).slice(0, integer(random, 6, 9)))
  const given = solution.map((digit, cell) => (open.has(cell) ? 0 : digit))
  const fitting = grids.filter(grid => given.every((digit, cell) => digit === 0 || digit === grid[cell]))
  if (fitting.length !== 1) return undefined
  const names = new Map(solution.slice(0, side).map((digit, i) => [digit, i + 1]))
  return {
    identity: given.map(digit => names.get(digit) ?? 0).join(""),
    prompt: `Sudoku ${shownGrid(given)}:`,
    response: ` ${shownGrid(solution)}`
  }
}

/** ` + 3`, ` - 3`. */
const plus = (term: number): string => (term < 0 ? ` - ${-term}` : ` + ${term}`)

const unknowns = ["x", "y", "z", "n", "t", "a"] as const
const largestTerm = 20

/** The unknown is on both sides. Numbers are small, so that each is one token. */
const solve: Draw = random => {
  const unknown = pick(random, unknowns)
  const [fewer, more] = shuffled(random, range(1, 12))
    .slice(0, 2)
    .sort((a, b) => a - b) as [number, number]
  const value = integer(random, 1, 9)
  const terms = shuffled(random, range(-largestTerm, largestTerm))
  const difference = (more - fewer) * value
  const beside = terms.find(term => term !== 0 && term + difference !== 0 && term + difference <= largestTerm)
  if (beside === undefined || more - fewer < 2 || difference > largestTerm + 1) return undefined
  const other = beside + difference
  const sides = [`${more}${unknown}${plus(beside)}`, `${fewer}${unknown}${plus(other)}`]
  const equation = (random() < 0.5 ? sides : sides.reverse()).join(" = ")
  const collected = `${more}${unknown} - ${fewer}${unknown} = ${other}${plus(-beside)}`
  return {
    identity: equation.replaceAll(unknown, "x"),
    prompt: `Solve ${equation}:`,
    response: ` ${collected}, ${more - fewer}${unknown} = ${difference}, ${unknown} = ${value}`
  }
}

const draws = { chain, sort, order, sudoku, solve, fill } as const

/** A family of problems; `src/evaluation/tasks` has a task of the same name. */
export type Family = keyof typeof draws
export const families = Object.keys(draws) as unknown as Arr.NonEmptyReadonlyArray<Family>

/** Of the lists of problems that ship, and that the shipped teacher learns from; and the ranges of each family's list, which share nothing. */
export const seed = 2026
export const ranges = {
  heldOut: { first: 0, count: 400 },
  conversion: { first: 400, count: 2000 },
  training: { first: 2400, count: 6000 }
} as const

/** Problems that are drawn for each one that is taken, at most. */
const mostTries = 100

/** The problems from number `first` on of the one list that a family and a seed have. No two of the list are the same, whatever they call things. */
export const makeProblems = (
  family: Family,
  { count, first, seed }: { readonly count: number; readonly first: number; readonly seed: number }
): ReadonlyArray<MadeProblem> => {
  const random = seeded(seed + families.indexOf(family))
  const seen = new Set<string>()
  const problems: Array<MadeProblem> = []
  for (let tried = 0; problems.length < first + count; tried++) {
    if (tried > mostTries * (first + count))
      throw new Error(`${family} has only ${problems.length} of ${first + count} problems`)
    const draft = draws[family](random)
    if (draft === undefined || seen.has(draft.identity)) continue
    seen.add(draft.identity)
    problems.push({ prompt: draft.prompt, response: draft.response })
  }
  return problems.slice(first)
}
