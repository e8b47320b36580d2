/** `convert`: a configuration file of one's own as a plan, and what it says where the file cannot be used. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import compare from "../../pipelines/compare-50x.ts"
import { comparison } from "../../pipelines/comparison.ts"
import convert from "../../pipelines/convert.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { evaluate, type Pipeline, type Variant } from "../../src/pipeline/Pipeline.ts"
import { fileURLToPath, pathToFileURL } from "node:url"
import { rendered } from "../support/configErrors.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())

const file = (data: string, train = "", name = "my model.yaml"): string => {
  const path = join(directory.path, name)
  writeFileSync(
    path,
    `model:\n  model_path: org/name\ndata:\n  train_path: file:texts.jsonl\n  max_seq_len: 128\n${data}train:\n  lr: 1e-4\n  global_batch_size: 2\n  num_train_epochs: 1\n${train}`
  )
  return path
}
const planned = (variant: Variant, pipeline: Pipeline = convert, set: ReadonlyArray<string> = []) =>
  new Map(
    evaluate(pipeline, { variant, overrides: set.map(parseOverride) }).nodes.map(node => [
      node.label,
      JSON.parse(node.parametersText) as { readonly [field: string]: unknown }
    ])
  )

const held = "  eval_path: file:others.jsonl\n  eval_size: 7\n"

describe("convert", () => {
  it("reads, trains and measures what the file names, and nothing else", () => {
    const nodes = planned({ config: file(held) })
    assert.deepStrictEqual([...nodes.keys()].sort(), [
      "benchmark/my_model",
      "download-documents/corpus",
      "download-documents/held-out",
      "download-model",
      "download-tokenizer",
      "evaluate-likelihood/my_model",
      "evaluate-references",
      "evaluate-texts/my_model",
      "reference-texts",
      "report-grid",
      "tokenize/corpus",
      "tokenize/held-out",
      "train/my_model"
    ])
    assert.include(nodes.get("download-model"), { source: "hf://models/org/name@main" })
    assert.include(nodes.get("download-tokenizer"), { source: "hf://models/org/name@main" })
    assert.include(nodes.get("download-documents/held-out"), { source: "file:others.jsonl" })
    assert.include(nodes.get("tokenize/held-out"), { documents: 7, maxSeqLen: 128 })
    assert.notProperty(nodes.get("tokenize/corpus"), "documents")
    assert.include(nodes.get("train/my_model"), { lr: 1e-4, method: "masked" })
  })

  it("brings along what the method needs, by the file or by --set; --quick and --seeds as in a grid", () => {
    const plain = file(held)
    assert.include([...planned({ config: file(held, "  repr_align_wt: 1\n", "a.yaml") }).keys()], "anchor")
    assert.include([...planned({ config: plain }, convert, ["train.repr_align_wt=1"]).keys()], "anchor")
    assert.include([...planned({ config: plain, seeds: 2 }).keys()], "train/my_model-2")
    assert.include(planned({ config: plain, quick: true }).get("tokenize/corpus"), { documents: 16 })
  })

  it("quantises the base and trains an adapter where the file asks for QLoRA, and hands it on", () => {
    const qlora = (fields: string, train = "") => {
      const path = file(held, train, "qlora.yaml")
      const text = readFileSync(path, "utf8")
      writeFileSync(path, text.replace("data:", `  enable_qlorafy: true\n  qlorafy_config:\n${fields}data:`))
      return path
    }
    const fields = "    r: 4\n    double_quant: false\n"
    const nodes = planned({ config: qlora(fields) })
    assert.deepStrictEqual(nodes.get("quantize"), { block_size: 64, double_quant: false })
    assert.deepInclude(nodes.get("train/qlora")!["adapter"] as object, { r: 4, lora_alpha: 32, use_rslora: true })
    assert.include(nodes.get("export-peft/qlora"), { source: "hf://models/org/name@main" })
    const otherRank = planned({ config: qlora(fields) }, convert, ["train.adapter.r=8"])
    assert.deepInclude(otherRank.get("train/qlora")!["adapter"] as object, { r: 8 })
    const message = (path: string) => rendered(() => planned({ config: path }))
    assert.match(
      message(qlora("    bias: all\n")),
      /qlora\.yaml:5:11: model\.qlorafy_config\.bias: not supported: biases stay as they are/
    )
    assert.match(message(qlora("    rr: 4\n")), /qlora\.yaml:5:5: model\.qlorafy_config\.rr is not known/)
    assert.match(
      message(qlora(fields, "  method: vfm\n")),
      /train\/qlora\.adapter: belongs to the method masked, but method is vfm/
    )
  })

  it("says what is missing, and where the file is wrong", () => {
    const message = (variant: Variant, pipeline = convert) => rendered(() => planned(variant, pipeline))
    assert.match(message({}), /--config: convert needs a configuration file/)
    assert.match(message({ config: file("") }), /data\.eval_path: there is nothing to evaluate the model on/)
    assert.match(
      message({ config: file(`${held}  shuffle: true\n`) }),
      /my model\.yaml:8:3: data\.shuffle is not known/
    )
    assert.match(message({ config: file(held, "  ldlm:\n    depth: 2\n") }), /my model\.yaml:\d+:\d+: .*ldlm/)
    assert.match(message({ config: file(held) }, compare), /--config: pipeline compare-50x does not take it/)
    const row = { name: "row", label: "row", config: pathToFileURL(file(held)) }
    const grid = comparison("grid", { description: "", rows: [row] })
    assert.match(message({}, grid), /data\.eval_path: the rows of a grid are evaluated on the documents of its profile/)
  })
})

describe("a model with an adapter", () => {
  it("is trained on, and handed on; a new one beside it is refused", () => {
    const path = file(held)
    const text = readFileSync(path, "utf8").replace("org/name\n", "org/name\n  adapter_path: org/adapter\n")
    writeFileSync(path, text)
    const nodes = planned({ config: path })
    assert.include(nodes.get("download-adapter"), { source: "hf://models/org/adapter@main" })
    assert.isTrue(nodes.has("export-peft/my_model"))
    const qlora = (fields: string) =>
      writeFileSync(path, text.replace("data:", `  enable_qlorafy: true\n  qlorafy_config: ${fields}\ndata:`))
    qlora("{ double_quant: false }")
    assert.notProperty(planned({ config: path }).get("train/my_model"), "adapter")
    qlora("{ r: 8 }")
    assert.match(
      rendered(() => planned({ config: path })),
      /model\.qlorafy_config\.r: says what a new adapter is like, but model\.adapter_path names one/
    )
  })
})

describe("the configurations that ship for it", () => {
  const configs = fileURLToPath(new URL("../../configs", import.meta.url))
  const shipped = readdirSync(configs).filter(
    name => name.endsWith(".yaml") && readFileSync(join(configs, name), "utf8").includes("eval_path:")
  )

  it("are those of the field", () => {
    assert.deepStrictEqual(shipped.sort(), [
      "cloud_27b.yaml",
      "qlorafy_27b_train.yaml",
      "qwen2_5_coder_0_5b.yaml",
      "qwen3_1_7b_alllayers_subsample_smoke.yaml",
      "qwen3_6_27b_qlora_repr_align.yaml",
      "qwen3_6_27b_repr_align_100k.yaml"
    ])
  })

  it.each(shipped)(
    "%s is planned: with adapters over a quantised base, and states of the teacher, as it says",
    name => {
      const text = readFileSync(join(configs, name), "utf8")
      const nodes = planned({ config: join(configs, name) })
      const row = name.replace(".yaml", "")
      const adapted = text.includes("enable_qlorafy: true")
      const aligned = text.includes("repr_align_wt:")
      const labels = [...nodes.keys()]
      assert.include(labels, `evaluate-likelihood/${row}`)
      for (const stage of ["quantize", `export-peft/${row}`]) assert.strictEqual(labels.includes(stage), adapted, stage)
      assert.strictEqual("adapter" in nodes.get(`train/${row}`)!, adapted)
      // Under an adapter the base itself is the teacher, while it is trained.
      assert.strictEqual(labels.includes("anchor"), aligned && !adapted)
    }
  )
})
