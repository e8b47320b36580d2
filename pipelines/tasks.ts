/** The tasks that a profile may name in `data.tasks`, and the stages that ask them. */
import type { TaskStage } from "../stages/evaluate/asking.ts"
import { evaluateEquations } from "../stages/evaluate-equations.ts"

export const tasks: { readonly [name: string]: TaskStage } = {
  equations: evaluateEquations
}
