/** Models whose files say different things, one a row of the table in docs/models.md; what is done with them is held here and, by the interoperability tests, beside transformers. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { saveTensorFile } from "../../src/formats/tensorFiles.ts"
import { parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig } from "../../src/models/families.ts"
import { initialValues } from "../../src/models/parameters.ts"
import { makeReference } from "../../src/engines/reference/reference.ts"
import { loadModel } from "../../src/models/artifact.ts"
import { makeTokenLosses } from "../../src/sessions/tokenLosses.ts"
import { shippedDirectory } from "./tokenizers.ts"

type Json = { [field: string]: unknown }

/** The content of a model's files, to be edited. */
export interface ModelFolder {
  /** JSON files by name. */
  readonly json: Map<string, Json>
  /** Tensors by file and name. */
  readonly weights: Map<string, Map<string, { readonly shape: ReadonlyArray<number>; readonly values: Float32Array }>>
}
export type Edit = (folder: ModelFolder) => void

export const weightsFile = "model.safetensors"
export const config = ({ json }: ModelFolder): Json => json.get("config.json")!
export const tokenizer = ({ json }: ModelFolder): Json => json.get("tokenizer.json")!
export const tokenizerConfig = ({ json }: ModelFolder): Json => json.get("tokenizer_config.json")!
export const tensors = ({ weights }: ModelFolder) => weights.get(weightsFile)!

/** Ids of the shipped tokenizer: its end of text, and the first that no token has. */
export const [eos, free] = [2044, 2048] as const
const [embedding, head] = ["model.embed_tokens.weight", "lm_head.weight"] as const

/** Two layers, tied, with room for eight more tokens. Qwen2's names are the same, with biases. */
const fields = {
  model_type: "qwen3",
  architectures: ["Qwen3ForCausalLM"],
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  vocab_size: free + 8,
  rope_theta: 100,
  tie_word_embeddings: true,
  initializer_range: 0.3,
  max_position_embeddings: 64,
  torch_dtype: "float32"
}

const fresh = (): ModelFolder => {
  const specs = parameterSpecs(Effect.runSync(decodeModelConfig(fields)))
  const read = (name: string) => JSON.parse(readFileSync(join(shippedDirectory, name), "utf8")) as Json
  return {
    json: new Map([
      ["config.json", { ...fields }],
      ["tokenizer.json", read("tokenizer.json")],
      ["tokenizer_config.json", read("tokenizer_config.json")]
    ]),
    weights: new Map([
      [weightsFile, new Map(specs.map(spec => [spec.name, { shape: spec.shape, values: initialValues(spec, 5) }]))]
    ])
  }
}

/** Writes the model with an edit. */
export const writeFolder = async (directory: string, edit: Edit): Promise<void> => {
  const folder = fresh()
  edit(folder)
  mkdirSync(directory, { recursive: true })
  for (const [name, content] of folder.json) writeFileSync(join(directory, name), JSON.stringify(content))
  for (const [file, named] of folder.weights) {
    const all = Array.from(named, ([name, { shape, values }]) => ({
      name,
      shape,
      floats: Effect.succeed(values as Float32Array<ArrayBuffer>)
    }))
    await Effect.runPromise(saveTensorFile(join(directory, file), all, "F32"))
  }
}

/** The files of a folder. */
export const filesIn = (directory: string) =>
  readdirSync(directory).map(name => ({ name, path: join(directory, name) }))

/** Tokens of which losses are told: every weight has a part in them. */
export const spoken = Array.from({ length: 12 }, (_, i) => (i * i * 37 + 11) % 2000)

/** The losses of all but the first of them. */
export const lossesIn = (directory: string): Promise<ReadonlyArray<number>> =>
  Effect.runPromise(
    Effect.scoped(
      Effect.gen(function* () {
        const engine = makeReference()
        const { config, parameters } = yield* loadModel(engine, filesIn(directory))
        const { length } = spoken
        const losses = yield* makeTokenLosses(engine, config, parameters, { rows: 1, length, causal: true })
        return [
          ...(yield* losses({
            ids: Int32Array.from(spoken),
            segmentIds: new Int32Array(length),
            positions: Int32Array.from(spoken.keys()),
            targets: Int32Array.from(spoken.slice(1))
          }))
        ]
      })
    )
  )

/** A head that is not the embedding. */
const ownHead: Edit = folder => {
  const { shape, values } = tensors(folder).get(embedding)!
  tensors(folder).set(head, { shape, values: values.map((_, i) => values[values.length - 1 - i]!) })
}
const all =
  (...edits: ReadonlyArray<Edit>): Edit =>
  folder =>
    edits.forEach(edit => edit(folder))
const set =
  (changes: Json): Edit =>
  folder =>
    void Object.assign(config(folder), changes)
const file =
  (name: string, content: Json): Edit =>
  ({ json }) =>
    void json.set(name, content)
const token = (content: string, more: Json = {}) => ({
  content,
  lstrip: false,
  normalized: false,
  rstrip: false,
  single_word: false,
  special: true,
  ...more
})
const decoder =
  (id: number, content: string): Edit =>
  folder =>
    void (tokenizerConfig(folder)["added_tokens_decoder"] = { [String(id)]: token(content) })
const index = (map: (names: ReadonlyArray<string>) => Json): Edit => {
  return folder =>
    void folder.json.set("model.safetensors.index.json", {
      metadata: { total_size: 0 },
      weight_map: map([...tensors(folder).keys()])
    })
}
const everyTensor = (names: ReadonlyArray<string>) => Object.fromEntries(names.map(name => [name, weightsFile]))
const bias = "model.layers.0.self_attn.q_proj.bias"

export interface Disagreement {
  readonly name: string
  readonly edit: Edit
  /** What transformers does: it loads the model, or fails. */
  readonly theirs: "loads" | "fails"
  /** What is done here: the model is this one, or it is refused by such words. */
  readonly ours: { readonly as: Edit } | { readonly refused: RegExp }
  /** The ends of text. Left out: the tokenizer's. */
  readonly ends?: ReadonlyArray<number>
  /** Ids of tokens. */
  readonly ids?: { readonly [token: string]: number }
}

const base: Edit = () => {}
const refused = (refused: RegExp) => ({ refused })

export const disagreements: ReadonlyArray<Disagreement> = [
  {
    name: "tie_word_embeddings, and a head stored with the embedding's numbers",
    edit: folder => void tensors(folder).set(head, tensors(folder).get(embedding)!),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "tie_word_embeddings, and a head stored with other numbers",
    edit: ownHead,
    theirs: "loads",
    ours: { as: all(ownHead, set({ tie_word_embeddings: false })) }
  },
  {
    name: "tie_word_embeddings, and the head stored without the embedding",
    edit: folder => {
      tensors(folder).set(head, tensors(folder).get(embedding)!)
      tensors(folder).delete(embedding)
    },
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "eos_token_id in generation_config.json, another in config.json, another in the tokenizer",
    edit: all(set({ eos_token_id: 3 }), file("generation_config.json", { eos_token_id: [5, eos, 9] })),
    theirs: "loads",
    ours: { as: base },
    ends: [eos, 5, 9]
  },
  {
    name: "eos_token_id in config.json alone",
    edit: set({ eos_token_id: 7 }),
    theirs: "loads",
    ours: { as: base },
    ends: [eos, 7]
  },
  {
    name: "eos_token_id in config.json, and a generation_config.json without one",
    edit: all(set({ eos_token_id: 7 }), file("generation_config.json", { do_sample: false })),
    theirs: "loads",
    ours: { as: base },
    ends: [eos, 7]
  },
  {
    name: "eos_token_id that is no id",
    edit: all(set({ eos_token_id: "x" }), file("generation_config.json", { eos_token_id: 5 })),
    theirs: "fails",
    ours: refused(/config\.json: eos_token_id is "x"/)
  },
  {
    name: "a token in added_tokens_decoder alone",
    edit: decoder(free, "<X>"),
    theirs: "loads",
    ours: { as: base },
    ids: { "<X>": free }
  },
  {
    name: "a token in added_tokens_decoder under an id that it does not get",
    edit: decoder(free + 2, "<X>"),
    theirs: "loads",
    ours: refused(/tokenizer_config\.json: added_tokens_decoder\["2050"\] gives "<X>" the id 2050, but its id 2048/)
  },
  {
    name: "a token in added_tokens_decoder under another id than in tokenizer.json",
    edit: decoder(3, "<M>"),
    theirs: "loads",
    ours: refused(/gives "<M>" the id 3, but its id 2047 is that of added_tokens in tokenizer\.json/)
  },
  {
    name: "added_tokens under an id that the token does not get",
    edit: folder => void (tokenizer(folder)["added_tokens"] as Array<unknown>).push({ id: free + 4, ...token("<X>") }),
    theirs: "loads",
    ours: refused(/tokenizer\.json: added_tokens\[4\] gives "<X>" the id 2052, but its id 2048 is the next free one/)
  },
  {
    name: "special tokens in tokenizer_config.json alone",
    edit: folder =>
      void Object.assign(tokenizerConfig(folder), {
        extra_special_tokens: ["<e>"],
        image_token: "<img>",
        bos_token: "<s>",
        mask_token: "<NM>"
      }),
    theirs: "loads",
    ours: { as: base },
    ids: { "<s>": free, "<NM>": free + 1, "<img>": free + 2, "<e>": free + 3 }
  },
  {
    name: "another end of text in special_tokens_map.json",
    edit: file("special_tokens_map.json", { eos_token: "<|im_end|>" }),
    theirs: "loads",
    ours: refused(/special_tokens_map\.json has eos_token "<\|im_end\|>".*tokenizer_config\.json/)
  },
  {
    name: "a token in added_tokens.json alone",
    edit: file("added_tokens.json", { "<X>": free }),
    theirs: "loads",
    ours: refused(/added_tokens\.json gives "<X>" the id 2048, in tokenizer\.json it has none/)
  },
  {
    name: "more tokens than the embedding has rows",
    edit: all(set({ vocab_size: 2040 }), folder => {
      const { values } = tensors(folder).get(embedding)!
      tensors(folder).set(embedding, { shape: [2040, 8], values: values.slice(0, 2040 * 8) })
    }),
    theirs: "loads",
    ours: refused(/tokenizer\.json has tokens up to id 2047, but the model's embedding only 2040 rows \(vocab_size/)
  },
  {
    name: "rope_theta beside another one in rope_parameters",
    edit: set({ rope_theta: 9, rope_parameters: { rope_type: "default", rope_theta: 500 } }),
    theirs: "loads",
    ours: { as: set({ rope_theta: 500 }) }
  },
  {
    name: "rope_scaling beside rope_parameters",
    edit: set({ rope_scaling: { type: "default", rope_theta: 700 }, rope_parameters: { rope_theta: 500 } }),
    theirs: "loads",
    ours: { as: set({ rope_theta: 700 }) }
  },
  {
    name: "a kind of rope_parameters that is not computed here, by its older name",
    edit: set({ rope_parameters: { type: "linear", factor: 2 } }),
    theirs: "loads",
    ours: refused(/rope_parameters\.type is "linear"; supported is "default"/)
  },
  {
    name: "rope_parameters for each kind of layer",
    edit: set({ rope_parameters: { full_attention: { rope_type: "default", rope_theta: 500 } } }),
    theirs: "fails",
    ours: refused(/rope_parameters\.full_attention is/)
  },
  {
    name: "vocab_size that is not the rows of the embedding",
    edit: set({ vocab_size: free + 4 }),
    theirs: "fails",
    ours: refused(/do not fit the model's config\.json; of another shape: model\.embed_tokens\.weight/)
  },
  {
    name: "torch_dtype, another dtype, and another dtype of the weights",
    edit: set({ torch_dtype: "bfloat16", dtype: "float16" }),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "fewer layers than there are tensors for",
    edit: set({ num_hidden_layers: 1 }),
    theirs: "loads",
    ours: refused(/do not fit the model's config\.json; unknown: model\.layers\.1\./)
  },
  {
    name: "more layers than there are tensors for",
    edit: set({ num_hidden_layers: 3 }),
    theirs: "loads",
    ours: refused(/do not fit the model's config\.json; missing: model\.layers\.2\./)
  },
  {
    name: "max_position_embeddings, and a shorter model_max_length",
    edit: folder => void (tokenizerConfig(folder)["model_max_length"] = 16),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "bos_token_id and pad_token_id that the tokenizer does not have",
    edit: set({ bos_token_id: 1, pad_token_id: 2 }),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "architectures of another family than model_type",
    edit: set({ architectures: ["LlamaForCausalLM"] }),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "an index that names a file which is not there",
    edit: all(
      index(names => ({ ...everyTensor(names), [embedding]: "model-2.safetensors" })),
      ({ weights }) => {
        weights.set("model-1.safetensors", weights.get(weightsFile)!)
        weights.delete(weightsFile)
      }
    ),
    theirs: "fails",
    ours: refused(/index\.json says that the tensor .* is in model.*\.safetensors, which is not there/)
  },
  {
    name: "an index that names a tensor which its file does not hold",
    edit: all(
      index(names => Object.fromEntries([...names, "model.x"].map(name => [name, "model-1.safetensors"]))),
      ({ weights }) => {
        weights.set("model-1.safetensors", weights.get(weightsFile)!)
        weights.delete(weightsFile)
      }
    ),
    theirs: "loads",
    ours: refused(/says that the tensor model\.x is in model-1\.safetensors, which does not hold it/)
  },
  {
    name: "a tensor in two files",
    edit: ({ weights }) => void weights.set("other.safetensors", weights.get(weightsFile)!),
    theirs: "loads",
    ours: refused(/the tensor .* is in (model|other)\.safetensors and in (model|other)\.safetensors/)
  },
  {
    name: "use_sliding_window",
    edit: set({ use_sliding_window: true, sliding_window: 4, max_window_layers: 1 }),
    theirs: "loads",
    ours: refused(/use_sliding_window is true/)
  },
  {
    name: "use_sliding_window that begins behind the last layer",
    edit: set({ use_sliding_window: true, sliding_window: 4, max_window_layers: 2 }),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "layer_types without windows, and use_sliding_window",
    edit: set({
      use_sliding_window: true,
      sliding_window: 4,
      max_window_layers: 0,
      layer_types: ["full_attention", "full_attention"]
    }),
    theirs: "loads",
    ours: { as: base }
  },
  {
    name: "layer_types for another number of layers",
    edit: set({ layer_types: ["full_attention"] }),
    theirs: "fails",
    ours: refused(/layer_types is .*num_hidden_layers, 2, kinds/)
  },
  {
    name: "attention_bias without biases",
    edit: set({ attention_bias: true }),
    theirs: "loads",
    ours: refused(/missing: model\.layers\.0\.self_attn\.q_proj\.bias/)
  },
  {
    name: "biases without attention_bias",
    edit: folder => void tensors(folder).set(bias, { shape: [8], values: new Float32Array(8).fill(1) }),
    theirs: "loads",
    ours: refused(/unknown: model\.layers\.0\.self_attn\.q_proj\.bias/)
  },
  {
    name: "Qwen2 with attention_bias false",
    edit: set({ model_type: "qwen2", attention_bias: false }),
    theirs: "loads",
    ours: refused(/attention_bias is false; supported is true in Qwen2/)
  },
  {
    name: "quantization_config, and dense weights",
    edit: set({
      quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true, bnb_4bit_quant_type: "nf4" }
    }),
    theirs: "fails",
    ours: refused(/config\.json says by quantization_config that the weights are in NF4, but no weight/)
  },
  {
    name: "a quantization_config of another kind",
    edit: set({ quantization_config: { quant_method: "gptq", bits: 4 } }),
    theirs: "fails",
    ours: refused(/quantization_config\.quant_method is "gptq"; supported is "bitsandbytes"/)
  },
  {
    name: "adapter_config.json whose rank is not that of the adapter's tensors",
    edit: all(
      file("adapter_config.json", {
        peft_type: "LORA",
        r: 3,
        lora_alpha: 4,
        target_modules: ["q_proj"],
        task_type: "CAUSAL_LM"
      }),
      ({ weights }) =>
        void weights.set(
          "adapter_model.safetensors",
          new Map(
            [0, 1].flatMap(layer =>
              (["A", "B"] as const).map(
                part =>
                  [
                    `base_model.model.model.layers.${layer}.self_attn.q_proj.lora_${part}.weight`,
                    { shape: part === "A" ? [2, 8] : [8, 2], values: new Float32Array(16).fill(0.1) }
                  ] as const
              )
            )
          )
        )
    ),
    theirs: "fails",
    ours: refused(/the adapter does not fit the model; of another shape: .*q_proj\.lora_A/)
  }
]
