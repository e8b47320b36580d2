/** The tasks whose problems ship with the program, each asked by a stage of its own. */
import { chain, fill } from "../src/evaluation/tasks/chain.ts"
import { solve } from "../src/evaluation/tasks/solve.ts"
import { order, sort } from "../src/evaluation/tasks/sort.ts"
import { sudoku } from "../src/evaluation/tasks/sudoku.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

// Rows of a grid are measured side by side.
const resources = { cpus: 1, memoryMiB: 2048 } as const

export const evaluateChain = Stage.make("evaluate-chain", { ...asking(chain), resources })
export const evaluateSort = Stage.make("evaluate-sort", { ...asking(sort), resources })
export const evaluateOrder = Stage.make("evaluate-order", { ...asking(order), resources })
export const evaluateSudoku = Stage.make("evaluate-sudoku", { ...asking(sudoku), resources })
export const evaluateSolve = Stage.make("evaluate-solve", { ...asking(solve), resources })
export const evaluateFill = Stage.make("evaluate-fill", { ...asking(fill), resources })
