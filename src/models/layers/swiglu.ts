/** The feed-forward network down(silu(gate x) * up x) (Shazeer 2020). */
import { silu } from "../../tensor/composites.ts"
import { mul } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { LinearKind } from "../linear/linear.ts"
import { type Part, together } from "../parameters.ts"

export interface Swiglu {
  readonly kind: "swiglu"
  readonly intermediateSize: number
}

/** `module`: what its linear maps are part of. */
export const swiglu = (
  { intermediateSize }: Swiglu,
  hiddenSize: number,
  linear: LinearKind,
  module = "mlp"
): Part<(x: Tensor) => Tensor> => {
  const inwards = { inputs: hiddenSize, outputs: intermediateSize, bias: false }
  const { make, specs } = together({
    gate: linear({ name: `${module}.gate_proj`, ...inwards }),
    up: linear({ name: `${module}.up_proj`, ...inwards }),
    down: linear({ name: `${module}.down_proj`, inputs: intermediateSize, outputs: hiddenSize, bias: false })
  })
  return {
    specs,
    make: parameter => {
      const { down, gate, up } = make(parameter)
      return x => down(mul(silu(gate(x)), up(x)))
    }
  }
}
