/** The tasks that a profile may name in `data.tasks`, and the stages that ask them; or the benchmark, which is asked as the pipeline `evaluate` does. */
import type { SuiteName } from "../src/evaluation/tasks/suites.ts"
import type { TaskStage } from "../stages/evaluate/asking.ts"
import { evaluateEquations } from "../stages/evaluate-equations.ts"
import { evaluateChain } from "../stages/evaluate-chain.ts"
import { evaluateFill } from "../stages/evaluate-fill.ts"
import { evaluateOrder } from "../stages/evaluate-order.ts"
import { evaluateSolve } from "../stages/evaluate-solve.ts"
import { evaluateSort } from "../stages/evaluate-sort.ts"
import { evaluateSudoku } from "../stages/evaluate-sudoku.ts"

export const tasks: { readonly [name: string]: TaskStage | SuiteName } = {
  equations: evaluateEquations,
  chain: evaluateChain,
  sort: evaluateSort,
  order: evaluateOrder,
  sudoku: evaluateSudoku,
  solve: evaluateSolve,
  fill: evaluateFill,
  humaneval: "humaneval",
  mbpp: "mbpp"
}
