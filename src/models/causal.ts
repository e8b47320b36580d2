/** The causal language-model loss of packed rows: what pre-training minimises and evaluation measures. */
import type { PackedArrays } from "../data/packing.ts"
import type { HostArray } from "../tensor/dtype.ts"
import { input, reshape, sliceAxis } from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import type { ModelConfig } from "./config.ts"
import { chunkedCrossEntropy, forward, weightsOf } from "./qwen.ts"

/** Rows and tokens per row of a batch. */
export interface BatchShape {
  readonly rows: number
  readonly length: number
}

/** What the loss reads: i32 [rows, length] each. */
export const packedInputs = ({ length, rows }: BatchShape) =>
  ({
    ids: { dtype: "i32", shape: [rows, length] },
    documents: { dtype: "i32", shape: [rows, length] },
    positions: { dtype: "i32", shape: [rows, length] }
  }) as const

/** Cross-entropy of each token but a row's first, given those before it in its document: f32 [rows x (length - 1)], nats. */
export const nextTokenLosses = (
  config: ModelConfig,
  parameter: (name: string) => Tensor,
  data: (name: keyof ReturnType<typeof packedInputs>) => Tensor,
  { checkpointLayers }: { readonly checkpointLayers: boolean }
): Tensor => {
  const ids = data("ids")
  const [rows, length] = ids.shape as [number, number]
  const weights = weightsOf(config, parameter)
  const { final } = forward(config, weights, ids, {
    causal: true,
    documents: data("documents"),
    positions: data("positions"),
    checkpointLayers
  })
  // The state at i - 1 predicts token i.
  const before = reshape(sliceAxis(final, 1, 0, length - 1), [rows * (length - 1), config.hiddenSize])
  const targets = reshape(sliceAxis(ids, 1, 1, length), [rows * (length - 1)])
  return chunkedCrossEntropy(before, weights.head, targets)
}

/** Which of those losses count: 1 where a token and the one before it belong to the same document, else 0. [rows x (length - 1)] */
export const predicted = ({ documents }: PackedArrays, { length, rows }: BatchShape): Float32Array<ArrayBuffer> => {
  const weights = new Float32Array(rows * (length - 1))
  for (let r = 0; r < rows; r++)
    for (let i = 1; i < length; i++) {
      const document = documents[r * length + i]!
      if (document >= 0 && document === documents[r * length + i - 1]) weights[r * (length - 1) + i - 1] = 1
    }
  return weights
}

/** Inputs of a program by name, for tracing outside of a training. */
export const packedTensors = (shape: BatchShape): ((name: keyof ReturnType<typeof packedInputs>) => Tensor) => {
  const inputs = packedInputs(shape)
  const tensors = new Map<string, Tensor>()
  return name => {
    const known = tensors.get(name)
    if (known !== undefined) return known
    const made = input(name, inputs[name].dtype, inputs[name].shape)
    tensors.set(name, made)
    return made
  }
}

/** The arrays of packed rows under the names of `packedInputs`. */
export const packedData = ({ documents, ids, positions }: PackedArrays): { readonly [name: string]: HostArray } => ({
  ids,
  documents,
  positions
})
