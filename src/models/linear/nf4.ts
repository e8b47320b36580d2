/** Weights in NF4: frozen, dequantised when they are multiplied with, forward and backward. */
import type { Nf4Layout } from "../../tensor/nf4.ts"
import { denseNf4, matmulNf4, type Nf4Weight } from "../../tensor/quantised.ts"
import { absmaxName, nestedAbsmaxName, nestedOffsetName } from "../parameters.ts"
import type { WeightKind } from "./linear.ts"

/** In this layout. Fresh weights are normal with this standard deviation, and then quantised. */
export const nf4Weight =
  (layout: Nf4Layout, deviation: number): WeightKind =>
  ({ inputs, name: module, outputs }) => {
    const name = `${module}.weight`
    return {
      specs: [{ name, shape: [outputs, inputs], initial: { normal: deviation }, storage: layout, trained: false }],
      make: parameter => {
        const absmax = parameter(absmaxName(name))
        const weight: Nf4Weight = {
          packed: parameter(name),
          absmax: layout.doubleQuant
            ? {
                indices: absmax,
                nestedAbsmax: parameter(nestedAbsmaxName(name)),
                offset: parameter(nestedOffsetName(name))
              }
            : absmax,
          out: outputs,
          blockSize: layout.blockSize
        }
        return { times: x => matmulNf4(x, weight), matrix: dtype => denseNf4(weight, inputs, dtype) }
      }
    }
  }
