/** The tasks that a profile may name in `data.tasks`, and the stages that ask them. */
import type { TaskStage } from "../stages/evaluate/asking.ts"
import { evaluateEquations } from "../stages/evaluate-equations.ts"
import {
  evaluateChain,
  evaluateFill,
  evaluateOrder,
  evaluateSolve,
  evaluateSort,
  evaluateSudoku
} from "../stages/evaluate-problems.ts"

export const tasks: { readonly [name: string]: TaskStage } = {
  equations: evaluateEquations,
  chain: evaluateChain,
  sort: evaluateSort,
  order: evaluateOrder,
  sudoku: evaluateSudoku,
  solve: evaluateSolve,
  fill: evaluateFill
}
