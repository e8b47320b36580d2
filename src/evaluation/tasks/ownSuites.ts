/** The tasks whose problems ship with the program, as suites. */
import { promptedTasks } from "./tasks.ts"
import { suiteOf } from "./Task.ts"

export const suites = {
  chain: suiteOf(promptedTasks.chain),
  fill: suiteOf(promptedTasks.fill),
  order: suiteOf(promptedTasks.order),
  solve: suiteOf(promptedTasks.solve),
  sort: suiteOf(promptedTasks.sort),
  sudoku: suiteOf(promptedTasks.sudoku)
} as const
