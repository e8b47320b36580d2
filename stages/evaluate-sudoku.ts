/** The task `sudoku`: a Sudoku of four by four. */
import { sudoku } from "../src/evaluation/tasks/sudoku.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

export const evaluateSudoku = Stage.make("evaluate-sudoku", asking(sudoku))
