/** Norms of a state, or of a head, over its last axis. */
import { rmsNorm } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Part } from "../parameters.ts"

/** x weight / sqrt(mean(x²) + epsilon), with a weight that begins at 1. */
export interface Norm {
  readonly kind: "rms"
  readonly epsilon: number
}

export const norm = ({ epsilon }: Norm, name: string, size: number): Part<(x: Tensor) => Tensor> => ({
  specs: [{ name, shape: [size], initial: "ones" }],
  make: parameter => x => rmsNorm(x, parameter(name), epsilon)
})
