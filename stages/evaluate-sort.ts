/** The task `sort`: letters in the order of the alphabet. */
import { sort } from "../src/evaluation/tasks/sort.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

export const evaluateSort = Stage.make("evaluate-sort", asking(sort))
