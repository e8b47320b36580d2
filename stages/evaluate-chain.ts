/** The task `chain`: results of a chain of steps modulo 10, worked out one after the other. */
import { chain } from "../src/evaluation/tasks/chain.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asking } from "./evaluate/asking.ts"

export const evaluateChain = Stage.make("evaluate-chain", asking(chain))
