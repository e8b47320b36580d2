/** Linear layers: which parameters one has and how it is computed of them. What else stores or adapts weights is another kind, here. */
import { add, matmul } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Part } from "../parameters.ts"

/** x [..., in] -> [..., out]. */
export type Linear = (x: Tensor) => Tensor

export interface LinearShape {
  /** Of its module, as in `self_attn.q_proj`. */
  readonly name: string
  readonly inputs: number
  readonly outputs: number
  readonly bias: boolean
}

/** A way in which linear layers are adapted and computed. */
export type LinearKind = (shape: LinearShape) => Part<Linear>

/** A weight [out, in], and a bias [out] where there is one. Fresh weights are normal with this standard deviation. */
export const dense =
  (deviation: number): LinearKind =>
  ({ bias, inputs, name, outputs }) => ({
    specs: [
      { name: `${name}.weight`, shape: [outputs, inputs], initial: { normal: deviation } },
      ...(bias ? [{ name: `${name}.bias`, shape: [outputs], initial: "zeros" } as const] : [])
    ],
    make: parameter => x => {
      const y = matmul(x, parameter(`${name}.weight`), { transposeB: true })
      return bias ? add(y, parameter(`${name}.bias`)) : y
    }
  })
