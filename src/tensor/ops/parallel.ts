/** Ops over several processes that run the same program. */
import type { Tensor } from "../Tensor.ts"
import { requireDtype, single } from "./infer.ts"

/** The sum of a tensor over all processes that compute together, in each of them; the tensor itself where there is one. */
export const allReduce = (x: Tensor): Tensor => {
  requireDtype("allReduce", "the operand", x, ["f32", "f16", "bf16", "i32", "i64"], allReduce)
  return single("allReduce", {}, [x], x.dtype, x.shape)
}
