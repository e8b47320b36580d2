/** The task `order`: letters in the order of the alphabet, or backwards. */
import { order } from "../src/evaluation/tasks/sort.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

export const evaluateOrder = Stage.make("evaluate-order", asking(order))
