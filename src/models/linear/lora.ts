/**
 * Adapters of low rank (LoRA, Hu et al. 2021): y = W x + s B A x, with a frozen W of any storage. As PEFT computes and names them, in f32. DoRA (Liu et al. 2024) makes every row of
 * the sum as long as a trained number says.
 */
import { square } from "../../tensor/composites.ts"
import {
  add,
  cast,
  constant,
  div,
  less,
  matmul,
  mul,
  random as uniform,
  rem,
  select,
  sqrt,
  stopGradient,
  sub,
  sum
} from "../../tensor/ops.ts"
import { randomKey } from "../../tensor/random.ts"
import type { Tensor } from "../../tensor/Tensor.ts"
import type { ParameterSpec } from "../parameters.ts"
import { biasOf, type LinearKind, type LinearShape, type WeightKind } from "./linear.ts"

/** An adapter of one linear layer, in the terms of PEFT. */
export interface Lora {
  readonly r: number
  readonly alpha: number
  /** Whether the scale is alpha / sqrt(r) (rsLoRA, Kalajdzievski 2023) instead of alpha / r. */
  readonly rankStabilised: boolean
  /** Share of the adapter's inputs that a training drops. */
  readonly dropout: number
  /** Whether rows have a magnitude of their own (DoRA). */
  readonly dora: boolean
}

/** s. */
export const loraScale = ({ alpha, r, rankStabilised }: Pick<Lora, "alpha" | "r" | "rankStabilised">): number =>
  alpha / (rankStabilised ? Math.sqrt(r) : r)

/** The parameters of an adapter. */
export const loraNames = (module: string) => ({
  /** [r, in]. */
  a: `${module}.lora_A.weight`,
  /** [out, r]. */
  b: `${module}.lora_B.weight`,
  /** [out]; DoRA's. */
  magnitude: `${module}.lora_magnitude_vector`
})

/**
 * Fresh values change nothing: A is uniform within 1 / sqrt(in), which is Kaiming's with a = sqrt(5), and B is 0. DoRA's magnitudes must be filled with the lengths of the weight's rows
 * (adapter/merge.ts).
 */
const loraSpecs = ({ inputs, name, outputs }: LinearShape, { dora, r }: Lora): ReadonlyArray<ParameterSpec> => {
  const { a, b, magnitude } = loraNames(name)
  return [
    { name: a, shape: [r, inputs], initial: { uniform: 1 / Math.sqrt(inputs) }, trained: true },
    { name: b, shape: [outputs, r], initial: "zeros", trained: true },
    ...(dora ? [{ name: magnitude, shape: [outputs], initial: "ones", trained: true } as const] : [])
  ]
}

/** What a training's pass drops at random. */
export interface Dropout {
  /** Of the pass, i64 [2]: two words of 32 bits. */
  readonly key: Tensor
  /** Name of the module in the model: each drops others. */
  readonly module: string
}

/** Drops the share `rate` of x, and scales what stays so that its mean does. */
const dropped = (x: Tensor, rate: number, { key, module }: Dropout): Tensor => {
  const salt = BigInt64Array.from(randomKey(0, `dropout of ${module}`), BigInt)
  const word = constant(2n ** 32n, "i64")
  const own = rem(add(key, constant(salt, "i64", [2])), word)
  return mul(select(less(uniform(own, x.shape), rate), 0, x), 1 / (1 - rate))
}

/**
 * A frozen weight, with its bias, under an adapter. Outside of a training, without `random`, nothing is dropped. In a layer that is computed again for the backward pass the same elements
 * are dropped.
 */
export const lora =
  (weight: WeightKind, settings: Lora, random?: Dropout): LinearKind =>
  shape => {
    const [base, bias] = [weight(shape), biasOf(shape)]
    const { dora, dropout } = settings
    const names = loraNames(shape.name)
    const scale = loraScale(settings)
    const frozen = [...base.specs, ...bias.specs].map(spec => ({ ...spec, trained: false }))
    return {
      specs: [...frozen, ...loraSpecs(shape, settings)],
      make: parameter => {
        const [{ matrix, times }, shifted] = [base.make(parameter), bias.make(parameter)]
        const [a, b] = [parameter(names.a), parameter(names.b)]
        const product = (x: Tensor): Tensor =>
          mul(matmul(matmul(x, a, { transposeB: true }), b, { transposeB: true }), scale) // [..., out]
        return x => {
          const drops = random !== undefined && dropout > 0
          const entering = cast(x, "f32")
          const kept = drops ? dropped(entering, dropout, random) : entering
          const y = times(x)
          if (!dora) return add(shifted(y), cast(product(kept), x.dtype))
          // The lengths count as constants, as the paper has it (4.3): that saves memory, and training is the same.
          const sumOfBoth = add(matrix("f32"), mul(matmul(b, a), scale)) // [out, in]
          const lengths = stopGradient(sqrt(sum(square(sumOfBoth), 1)))
          const stretch = div(parameter(names.magnitude), lengths) // [out]
          const ofWeight = cast(drops ? times(cast(kept, x.dtype)) : y, "f32")
          const change = add(mul(ofWeight, sub(stretch, 1)), mul(product(kept), stretch))
          return add(shifted(y), cast(change, x.dtype))
        }
      }
    }
  }
