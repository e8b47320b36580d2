/** The tasks whose problems ship with the program (src/corpora/problems.ts makes them). */
import { chain, fill } from "./chain.ts"
import { solve } from "./solve.ts"
import { order, sort } from "./sort.ts"
import { sudoku } from "./sudoku.ts"
import type { Prompted, Task } from "./Task.ts"

/** By name. */
export const promptedTasks = { chain, sort, order, sudoku, solve, fill } as const satisfies {
  readonly [name: string]: Task<Prompted>
}
