/** Norms of a state, or of a head, over its last axis. */
import { add, rmsNorm } from "../../tensor/ops.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { Part } from "../parameters.ts"

/** x weight / sqrt(mean(x²) + epsilon), with a weight that begins at 1; zero-centred, with 1 + weight, which begins at 0. */
export interface Norm {
  readonly kind: "rms" | "zero_centred_rms"
  readonly epsilon: number
}

export const norm = ({ epsilon, kind }: Norm, name: string, size: number): Part<(x: Tensor) => Tensor> => {
  const centred = kind === "zero_centred_rms"
  return {
    specs: [{ name, shape: [size], initial: centred ? "zeros" : "ones" }],
    make: parameter => x => rmsNorm(x, centred ? add(parameter(name), 1) : parameter(name), epsilon)
  }
}
