/** Applies ops while tracing, as their declarations say. */
import { resultTypes } from "../declaration.ts"
import { type Attributes, type Operands, primitives, type ProgramOp, type Results } from "../primitives.ts"
import { resolveAxis } from "../shape.ts"
import { makeNode, Tensor, TensorError } from "../Tensor.ts"

/** A public op, the caller to blame: frames above it are left out of an error's stack. */
export type Caller = (...args: never) => unknown

/** The results of an op. */
export const applyAll = <O extends ProgramOp>(
  op: O,
  attributes: Attributes[O],
  operands: Operands<O, Tensor>,
  caller: Caller
): Results<O, Tensor> => {
  const inputs = operands as ReadonlyArray<Tensor>
  const types = resultTypes(primitives[op], attributes, inputs)
  if (typeof types === "string") throw new TensorError(op, types, caller)
  const node = makeNode(op, attributes, inputs, types)
  return types.map((_, i) => new Tensor(node, i)) as unknown as Results<O, Tensor>
}

/** The first result, for most ops the only one. */
export const apply = <O extends ProgramOp>(
  op: O,
  attributes: Attributes[O],
  operands: Operands<O, Tensor>,
  caller: Caller
): Tensor => (applyAll(op, attributes, operands, caller) as ReadonlyArray<Tensor>)[0]!

/** An axis that may count from the end, as declarations want it; as it is where there is none. */
export const fromStart = (axis: number, x: Tensor): number => resolveAxis(axis, x.rank) ?? axis
