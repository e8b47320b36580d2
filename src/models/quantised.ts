/** Models whose weights are in NF4: which are to be, which are stored so, and a checkpoint written so. */
import { Effect } from "effect"
import { nf4Group, quantise } from "../formats/bitsandbytes.ts"
import type { FileError } from "../formats/fileError.ts"
import { isFloatFormat } from "../formats/floats.ts"
import { copyOf, type Saved, type SaveOptions, type StoredTensor, TensorFilesError } from "../formats/tensorFiles.ts"
import { visible } from "../pipeline/Problem.ts"
import type { Nf4Layout } from "../tensor/nf4.ts"
import { elements } from "../tensor/Tensor.ts"
import type { OpenModel } from "./artifact.ts"
import { allLinearModules, type ModelConfig } from "./config.ts"
import { isTarget, type TargetModules } from "./linear/linearMaps.ts"

type Stored = Pick<OpenModel, "config" | "tensors">

const fail = (message: string) => new TensorFilesError({ message: visible(message) })

/** The configuration under which weights of linear maps that are stored in NF4 stay so on an engine. */
export const withStoredNf4 = ({ config, tensors }: Stored): Effect.Effect<ModelConfig, TensorFilesError> => {
  const stored = allLinearModules(config).flatMap(({ module }) => {
    const layout = tensors.get(`${module}.weight`)?.nf4?.layout
    return layout === undefined ? [] : [{ module, layout }]
  })
  const [first] = stored
  if (first === undefined) return Effect.succeed(config)
  const { blockSize, doubleQuant } = first.layout
  const other = stored.find(({ layout }) => layout.blockSize !== blockSize || layout.doubleQuant !== doubleQuant)
  if (other !== undefined)
    return Effect.fail(
      fail(`the weights of ${first.module} and ${other.module} lie in NF4 in different layouts; a model has one`)
    )
  const modules = stored.map(({ module }) => module)
  return Effect.succeed({ ...config, linear: { ...config.linear, nf4: { blockSize, doubleQuant, modules } } })
}

/** The format in which a tensor's numbers are written; those in 64 bits are too many for the readers of such files. */
export const savedFormat = ({ dtype }: Pick<StoredTensor, "dtype">): SaveOptions["format"] =>
  isFloatFormat(dtype) && dtype !== "F64" ? dtype : "F32"

/**
 * The tensors of a checkpoint with the weights of linear maps in NF4, under the checkpoint's own names; all else as it is. They are read and quantised one by one, when they are written. Fails for
 * a weight that is in NF4 already: it would lose more.
 */
export const quantisedCheckpoint = (
  { config, tensors }: Stored,
  { modules, ...layout }: Nf4Layout & { readonly modules: TargetModules }
): Effect.Effect<ReadonlyArray<Saved<FileError | TensorFilesError>>, TensorFilesError> => {
  const weights = new Set(
    allLinearModules(config).flatMap(({ module }) => (isTarget(modules, module) ? [`${module}.weight`] : []))
  )
  const twice = [...weights].find(name => tensors.get(name)?.nf4 !== undefined)
  if (twice !== undefined)
    return Effect.fail(fail(`the weight ${twice} is in NF4 already; to quantise it again would lose more of it`))
  const saved = Array.from(tensors, ([ours, tensor]): Saved<FileError | TensorFilesError> => {
    if (!weights.has(ours)) return copyOf(tensor)
    const { floats, name, shape } = tensor
    const content = Effect.flatMap(floats(0, elements(shape)), values => quantise(name, shape, values, layout))
    return nf4Group(name, shape, { layout, format: savedFormat(tensor) }, content)
  })
  return Effect.succeed(saved)
}
