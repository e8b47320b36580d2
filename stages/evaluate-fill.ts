/** The task `fill`: a chain whose end is given, and whose beginning is asked. */
import { fill } from "../src/evaluation/tasks/chain.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

export const evaluateFill = Stage.make("evaluate-fill", asking(fill))
