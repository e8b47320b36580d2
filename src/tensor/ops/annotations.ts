/** Values that pass unchanged, with a word to differentiation or to the engine. */
import type { CustomRule } from "../primitives.ts"
import { makeNode, Tensor, traceMark } from "../Tensor.ts"
import { apply } from "./apply.ts"

export { apart } from "../Tensor.ts"

/** The value, taken as a constant by differentiation. */
export const stopGradient = (x: Tensor): Tensor =>
  new Tensor(makeNode("stopGradient", {}, [x], [{ dtype: x.dtype, shape: x.shape }]), 0)

/**
 * Traces `body`; what it computes is not kept for the backward pass but computed again there, from the values that existed before
 * (Chen et al. 2016). No engine may merge the second computation with the first.
 */
export const checkpoint = <T extends Tensor | ReadonlyArray<Tensor>>(body: () => T): T => {
  const mark = traceMark()
  const result = body()
  const values: ReadonlyArray<Tensor> = result instanceof Tensor ? [result] : result
  const node = makeNode(
    "checkpoint",
    { mark },
    values,
    values.map(({ dtype, shape }) => ({ dtype, shape }))
  )
  const marked = values.map((_, index) => new Tensor(node, index))
  return (result instanceof Tensor ? marked[0]! : marked) as T
}

/**
 * The value, differentiated by a rule of its own with respect to the inputs, instead of through what made it. The inputs are all that the rule may
 * use, results on the way to the value among them: within a checkpoint it is handed those that were computed again.
 */
export const customGradient = (
  value: Tensor,
  inputs: ReadonlyArray<Tensor>,
  rule: (gradient: Tensor, inputs: ReadonlyArray<Tensor>) => ReadonlyArray<Tensor | undefined>
): Tensor => customGradients([value], inputs, ([gradient], given) => rule(gradient!, given))[0]!

/** The same for several values at once. */
export const customGradients = (
  values: ReadonlyArray<Tensor>,
  inputs: ReadonlyArray<Tensor>,
  rule: CustomRule
): ReadonlyArray<Tensor> => {
  const types = values.map(({ dtype, shape }) => ({ dtype, shape }))
  const node = makeNode("customGradient", { rule }, [...values, ...inputs], types)
  return values.map((_, index) => new Tensor(node, index))
}

/** The value; whatever uses it is computed only when the dependencies have been. */
export const after = (value: Tensor, dependencies: ReadonlyArray<Tensor>): Tensor =>
  dependencies.length === 0 ? value : apply("after", {}, [value, ...dependencies], after)
