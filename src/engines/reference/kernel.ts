/** What computes an op in the reference engine. */
import type { Attributes, Operands, ProgramOp } from "../../tensor/primitives.ts"
import type { ValueType } from "../../tensor/Program.ts"

/** Elements in row-major order. */
export type Elements = Float64Array<ArrayBuffer>

export interface Operand extends ValueType {
  readonly data: Elements
}

/** One result, or all of several. `out`: the type of the first. */
export type Kernel<O extends ProgramOp> = (
  inputs: Operands<O, Operand>,
  attributes: Attributes[O],
  out: ValueType
) => Elements | ReadonlyArray<Elements>
