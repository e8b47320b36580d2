/** What a rule of differentiation is given, and what it gives. */
import type { Attributes, Op, Operands, ProgramOp, Results } from "./primitives.ts"
import type { Tensor } from "./Tensor.ts"

export interface RuleContext<O extends Op> {
  /** Cotangent of the first output. */
  readonly g: Tensor
  readonly inputs: O extends ProgramOp ? Operands<O, Tensor> : ReadonlyArray<Tensor>
  readonly outputs: O extends ProgramOp ? Results<O, Tensor> : ReadonlyArray<Tensor>
  readonly attributes: Attributes[O]
}

/** One entry for each input: computes its cotangent when asked, or undefined. */
export type Cotangents = ReadonlyArray<(() => Tensor) | undefined>

export type Rule<O extends Op> = (context: RuleContext<O>) => Cotangents
