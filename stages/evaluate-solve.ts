/** The task `solve`: a linear equation, solved step by step. */
import { solve } from "../src/evaluation/tasks/solve.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

export const evaluateSolve = Stage.make("evaluate-solve", asking(solve))
