/** Linear layers: which parameters one has and how it is computed of them. What else stores or adapts weights is another kind, here. */
import type { DType } from "../../tensor/dtype.ts"
import { add, cast, matmul } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Part, ParameterSpec } from "../parameters.ts"

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

/** A matrix [out, in], however it is stored. */
export interface Weight {
  /** x [..., in] -> [..., out], of the dtype of x. */
  readonly times: Linear
  /** [out, in]. */
  readonly matrix: (dtype: DType) => Tensor
}

/** A way in which weights are stored: one parameter, `NAME.weight`. */
export type WeightKind = (shape: LinearShape) => Part<Weight>

/** As floats, trained like all else. Fresh weights are normal with this standard deviation. */
export const denseWeight =
  (deviation: number): WeightKind =>
  ({ inputs, name, outputs }) => ({
    specs: [{ name: `${name}.weight`, shape: [outputs, inputs], initial: { normal: deviation } }],
    make: parameter => ({
      times: x => matmul(x, parameter(`${name}.weight`), { transposeB: true }),
      matrix: dtype => cast(parameter(`${name}.weight`), dtype)
    })
  })

/** The bias [out] of a linear layer, where it has one. */
export const biasOf = ({ bias, name, outputs }: LinearShape): Part<(y: Tensor) => Tensor> => {
  const specs: ReadonlyArray<ParameterSpec> = bias ? [{ name: `${name}.bias`, shape: [outputs], initial: "zeros" }] : []
  return { specs, make: parameter => y => (bias ? add(y, parameter(`${name}.bias`)) : y) }
}

/** A weight and nothing else, and a bias where there is one. */
export const plain =
  (weight: WeightKind): LinearKind =>
  shape => {
    const [product, bias] = [weight(shape), biasOf(shape)]
    return {
      specs: [...product.specs, ...bias.specs],
      make: parameter => {
        const [{ times }, shifted] = [product.make(parameter), bias.make(parameter)]
        return x => shifted(times(x))
      }
    }
  }

/** A weight [out, in], and a bias [out] where there is one. */
export const dense = (deviation: number): LinearKind => plain(denseWeight(deviation))
