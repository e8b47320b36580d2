/**
 * Where two files of a model may say different things (docs/models.md): what transformers does is done here, or the model is refused and both places are named. What `config.json` says twice itself is looked at
 * by its family.
 */
import { Effect } from "effect"
import type { FileError } from "../formats/fileError.ts"
import type { NamedFile, StoredTensor, StoredTensors, TensorFilesError } from "../formats/tensorFiles.ts"
import { readText } from "../formats/textFile.ts"
import { describe, messageOf, visible } from "../pipeline/Problem.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import { sameShape } from "../tensor/shape.ts"
import { elements } from "../tensor/Tensor.ts"
import type { Tokenizer } from "../tokens/tokenizer.ts"
import { embeddingKey, headKey, type ModelConfig, ModelConfigError } from "./config.ts"

type Json = { readonly [field: string]: unknown }

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

/** Elements that are compared at once. */
const piece = 2 ** 22

const sameNumbers = (a: StoredTensor, b: StoredTensor): Effect.Effect<boolean, FileError | TensorFilesError> =>
  Effect.gen(function* () {
    if (!sameShape(a.shape, b.shape)) return false
    const n = elements(a.shape)
    for (let from = 0; from < n; from += piece) {
      const to = Math.min(n, from + piece)
      const [left, right] = [yield* a.floats(from, to), yield* b.floats(from, to)]
      if (left.some((value, i) => value !== right[i])) return false
    }
    return true
  })

/**
 * A head that is tied to the embedding by `tie_word_embeddings`, and what is stored of both. Stored with the same numbers: they are one. With other numbers: the head is one of its own, whatever the
 * field says. The head alone: it is the embedding. So does transformers.
 */
export const withStoredHead = Effect.fnUntraced(function* <Model extends { config: ModelConfig; json: Json }>(
  model: Model & { readonly tensors: StoredTensors }
) {
  const { config, json, tensors } = model
  const [embedding, head] = [tensors.get(embeddingKey), tensors.get(headKey)]
  if (!config.tiedHead || head === undefined) return model
  if (embedding === undefined) {
    const renamed = new Map([...tensors].map(([name, tensor]) => [name === headKey ? embeddingKey : name, tensor]))
    return { ...model, tensors: renamed as StoredTensors }
  }
  if (yield* sameNumbers(embedding, head)) return model
  const text = json["text_config"]
  const untied = { tie_word_embeddings: false }
  return {
    ...model,
    config: { ...config, tiedHead: false },
    json: { ...json, ...untied, ...(isObject(text) ? { text_config: { ...text, ...untied } } : {}) }
  }
})

/** What weights in NF4 are called in `quantization_config`. */
const nf4Fields: Json = { quant_method: "bitsandbytes", load_in_4bit: true, bnb_4bit_quant_type: "nf4" }

/** Whether the weights are stored as `quantization_config` of `config.json` says. */
export const checkQuantisation = (json: Json, config: ModelConfig): Effect.Effect<void, ModelConfigError> => {
  const said = json["quantization_config"] ?? undefined
  const inNf4 = config.linear?.nf4 !== undefined
  const fail = (what: string) => Effect.fail(new ModelConfigError({ message: visible(what) }))
  if (said === undefined)
    return inNf4
      ? fail(
          "the weights are in NF4, but config.json has no quantization_config: transformers would take them for others"
        )
      : Effect.void
  if (!isObject(said))
    return fail(`config.json: quantization_config is ${describe(said)}; it must be an object, or left out`)
  for (const [field, supported] of Object.entries(nf4Fields))
    if (said[field] !== supported)
      return fail(
        `config.json: quantization_config.${field} is ${describe(said[field])}; supported is ${describe(supported)}, weights in NF4 as bitsandbytes stores them`
      )
  return inNf4
    ? Effect.void
    : fail("config.json says by quantization_config that the weights are in NF4, but no weight of a linear map is")
}

/** Files of older tokenizers, which transformers reads where `tokenizer_config.json` has no `added_tokens_decoder`; they go before what that says. */
const [specialTokensFile, addedTokensFile] = ["special_tokens_map.json", "added_tokens.json"]

/** Whether these say what the tokenizer says, which is made without them. */
export const checkOlderTokenizerFiles = (
  files: ReadonlyArray<NamedFile>,
  tokenizer: Tokenizer,
  config: string | undefined
): Effect.Effect<void, StageError | FileError> =>
  Effect.gen(function* () {
    // Has become a tokenizer, and can be parsed.
    const fields = config === undefined ? {} : (JSON.parse(config.replace(/^\uFEFF/, "")) as Json)
    if (isObject(fields["added_tokens_decoder"])) return
    const read = (name: string) =>
      Effect.gen(function* () {
        const file = files.find(each => each.name === name)
        if (file === undefined) return {}
        const text = yield* readText(file.path, name)
        const json = yield* Effect.try({
          try: () => JSON.parse(text.replace(/^\uFEFF/, "")) as unknown,
          catch: cause => permanent(`${name}: ${messageOf(cause)}`)
        })
        return isObject(json) ? json : yield* permanent(`${name}: must hold an object, got ${describe(json)}`)
      })
    const special = yield* read(specialTokensFile)
    const roles = { eos_token: tokenizer.eosId, mask_token: tokenizer.maskId }
    for (const [role, id] of Object.entries(roles)) {
      const value = special[role]
      const token = isObject(value) ? value["content"] : value
      if (typeof token === "string" && tokenizer.idOf(token) !== id)
        return yield* permanent(
          `${specialTokensFile} has ${role} ${describe(token)}, by tokenizer.json and tokenizer_config.json it is the token of id ${id}: write one of both into tokenizer_config.json, and remove the field here`
        )
    }
    for (const [token, id] of Object.entries(yield* read(addedTokensFile)))
      if (tokenizer.idOf(token) !== id)
        return yield* permanent(
          `${addedTokensFile} gives ${describe(token)} the id ${describe(id)}, in tokenizer.json it has ${tokenizer.idOf(token) === undefined ? "none" : `the id ${tokenizer.idOf(token)}`}: add it to added_tokens there`
        )
  })
