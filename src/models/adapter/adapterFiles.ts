/** Adapters as PEFT keeps them: `adapter_model.safetensors`, `adapter_config.json`, and what `diffusion_config.json` says beside. Read strictly onto the model that they are for, and written. */
import { Effect } from "effect"
import {
  type NamedFile,
  openTensors,
  saveTensorFile,
  type StoredTensor,
  type StoredTensors
} from "../../formats/tensorFiles.ts"
import { readText } from "../../formats/textFile.ts"
import { shorten } from "../../formats/safetensors.ts"
import type { Engine } from "../../engines/Engine.ts"
import type { ArtifactWriter } from "../../pipeline/StageContext.ts"
import { visible } from "../../pipeline/Problem.ts"
import { asStageError } from "../../pipeline/StageError.ts"
import type { OpenModel } from "../artifact.ts"
import { adapterSpecs, allLinearModules, isHybrid, type LinearModule, type ModelConfig } from "../config.ts"
import { ourTensors } from "../families.ts"
import { type Adapter, isTarget } from "../linear/linearMaps.ts"
import type { ParameterBuffers } from "../parameters.ts"
import { matchWeights } from "../weights.ts"
import {
  type AdapterBase,
  adapterConfigFile,
  AdapterError,
  decodeAdapterConfig,
  encodeAdapterConfig
} from "./adapterConfig.ts"
import { decodeDiffusionConfig, type DiffusionConfig, diffusionConfigFile } from "./diffusionConfig.ts"

export const adapterModelFile = "adapter_model.safetensors"

/** What PEFT writes before the name of a parameter in the model. */
const peftPrefix = "base_model.model."

/** An adapter's files. */
export interface AdapterFiles {
  readonly adapter: Adapter
  readonly base: AdapterBase
  readonly diffusion: DiffusionConfig | undefined
  /** By their names in the file. */
  readonly tensors: StoredTensors
}

const fail = (message: string) => new AdapterError({ message: visible(message) })

/** The files of an adapter among some; whether they fit a model is asked later. */
export const openAdapter = Effect.fn("openAdapter")(function* (files: ReadonlyArray<NamedFile>) {
  const fileOf = (name: string) => files.find(file => file.name === name)
  const [config, weights, diffusion] = [adapterConfigFile, adapterModelFile, diffusionConfigFile].map(fileOf)
  if (config === undefined) return yield* fail(`the adapter has no ${adapterConfigFile}`)
  if (weights === undefined) return yield* fail(`the adapter has no ${adapterModelFile}`)
  return {
    ...(yield* decodeAdapterConfig(yield* readText(config.path, adapterConfigFile))),
    diffusion:
      diffusion === undefined
        ? undefined
        : yield* decodeDiffusionConfig(yield* readText(diffusion.path, diffusionConfigFile)),
    tensors: yield* openTensors([weights])
  } satisfies AdapterFiles
})

/** The model's configuration with an adapter; fails for targets that are no linear maps of its layers. */
export const withAdapterConfig = (config: ModelConfig, adapter: Adapter): Effect.Effect<ModelConfig, AdapterError> => {
  if (config.linear?.adapter !== undefined) return Effect.fail(fail("the model has an adapter already"))
  const modules = allLinearModules(config)
  const { targetModules } = adapter
  const without =
    targetModules === "auto"
      ? []
      : targetModules.filter(name => !modules.some(({ module }) => isTarget([name], module)))
  if (without.length > 0)
    return Effect.fail(
      fail(
        `target_modules: ${without.map(shorten).join(", ")}: no linear map of the model's layers is called so; there are ${[...new Set(modules.map(lastName))].join(", ")}`
      )
    )
  const tooLarge = adapter.trainableTokens.find(id => id >= config.vocabSize)
  if (tooLarge !== undefined)
    return Effect.fail(
      fail(`trainable_token_indices: ${tooLarge}, but the model's embedding has ${config.vocabSize} rows`)
    )
  return Effect.succeed({ ...config, linear: { ...config.linear, adapter } })
}

const lastName = ({ module }: LinearModule): string => module.slice(module.lastIndexOf(".") + 1)

/** An adapter's tensors by the names of the model's parameters. */
const namedAsOurs = (config: ModelConfig, tensors: StoredTensors) =>
  Effect.gen(function* () {
    const found = new Map<string, StoredTensor>()
    for (const [name, tensor] of tensors) {
      const [ours] = name.startsWith(peftPrefix)
        ? (yield* ourTensors(new Map([[name.slice(peftPrefix.length), tensor]]), config)).keys()
        : []
      if (ours === undefined || found.has(ours))
        return yield* fail(`${adapterModelFile}: the tensor ${shorten(name)} is none of an adapter of this model`)
      found.set(ours, tensor)
    }
    return found as StoredTensors
  })

/**
 * A model with an adapter: the same tensors and the adapter's, under a configuration of both. Fails where the adapter's configuration, its tensors and the model do not fit each other; all tensors that are missing,
 * unknown or of another shape are named.
 */
export const withAdapter = Effect.fn("withAdapter")(function* <
  Model extends Pick<OpenModel, "config" | "tensors" | "tokenizer" | "tokenShift" | "diffusion">
>(model: Model, { adapter, diffusion, tensors }: AdapterFiles) {
  const config = yield* withAdapterConfig(model.config, adapter)
  const ours = yield* namedAsOurs(config, tensors)
  yield* matchWeights(adapterSpecs(config), ours, {}, [], "the adapter does not fit the model")
  const both = { ...model, config, tensors: new Map([...model.tensors, ...ours]) as StoredTensors }
  if (diffusion === undefined) return both
  const {
    hybrid_bidirectional: hybridBidirectional,
    mask_token: mask,
    mask_token_id: id,
    token_shift: tokenShift
  } = diffusion
  if (id !== model.tokenizer.maskId)
    return yield* fail(
      `${diffusionConfigFile}: the mask ${JSON.stringify(mask)} has id ${id}, in the model's tokenizer the mask has id ${model.tokenizer.maskId}`
    )
  if (hybridBidirectional !== undefined && !isHybrid(config))
    return yield* fail(
      `${diffusionConfigFile}: hybrid_bidirectional is ${hybridBidirectional}, but no layer of the model is recurrent`
    )
  const { attentionBlockSize: _, ...free } = config
  const seen = {
    ...free,
    ...(diffusion.attention === "block_causal" ? { attentionBlockSize: diffusion.attention_block_size } : {}),
    ...(hybridBidirectional === undefined ? {} : { hybridBidirectional })
  }
  return { ...both, config: seen, diffusion: true, tokenShift }
})

/** The content of `adapter_config.json` of a model with an adapter. */
export const adapterConfigText = (config: ModelConfig, base: AdapterBase): Effect.Effect<string, AdapterError> => {
  const adapter = config.linear?.adapter
  if (adapter === undefined) return Effect.fail(fail("the model has no adapter"))
  const { targetModules } = adapter
  const names =
    targetModules === "auto" ? [...new Set(allLinearModules(config).map(lastName))].toSorted() : targetModules
  return Effect.succeed(encodeAdapterConfig(adapter, names, base))
}

export interface AdapterToWrite {
  readonly engine: Engine
  /** Of a model with an adapter. */
  readonly config: ModelConfig
  readonly views: ParameterBuffers["views"]
  readonly base: AdapterBase
}

/** Writes the files of a model's adapter, in f32 as PEFT does, and returns their names. */
export const writeAdapter = Effect.fn("writeAdapter")(
  function* (
    output: Pick<ArtifactWriter<never>, "write" | "reserve">,
    { base, config, engine, views }: AdapterToWrite
  ) {
    yield* output.write(adapterConfigFile, yield* adapterConfigText(config, base))
    yield* saveTensorFile(
      yield* output.reserve(adapterModelFile),
      adapterSpecs(config).map(({ name, shape }) => ({
        name: `${peftPrefix}${name}`,
        shape,
        floats: Effect.map(engine.download(views[name]!), data => data as Float32Array<ArrayBuffer>)
      })),
      "F32"
    )
    return [adapterConfigFile, adapterModelFile]
  },
  Effect.mapError(error => asStageError(error))
)
