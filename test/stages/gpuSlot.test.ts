/** Actions of an engine on GPUs hold one. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, it } from "vitest"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { runPipeline } from "../support/inProcess.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "gpu-slot-"))
})
afterEach(() => rmSync(directory, { recursive: true }))

it("an engine on GPUs needs one, though the stage does not ask for it; other stages do not", async () => {
  const corpus = join(directory, "texts.jsonl")
  writeFileSync(corpus, '{"text":"the people"}\n')
  await writeTinyModel(join(directory, "tiny"))
  const pipeline = Pipeline.make(
    "gpu-slot",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () =>
      anchor({
        teacher: downloadModel({ source: `file:${join(directory, "tiny")}` }),
        sequences: tokenize({
          corpus: downloadDocuments({ source: `file:${corpus}` }),
          tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
          maxSeqLen: 24
        }),
        layers: "all"
      })
  )
  const ran = await runPipeline(pipeline, {
    cache: join(directory, "cache"),
    layers: [assets],
    engine: "torch/cuda/bf16"
  })
  // The runner of these tests offers no GPU.
  assert.match(ran.failures[0]!.message, /^needs 1 GPU, and this machine offers 0$/)
  assert.deepStrictEqual(
    ran.failures.map(({ label }) => label),
    ["anchor"]
  )
  assert.include(ran.labels, "tokenize")
})
