import { createHash } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Result } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { evaluate } from "../../src/engines/reference/evaluate.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { decodeProgram } from "../../src/tensor/encode.ts"
import { programText } from "../../src/tensor/text.ts"
import { anchor } from "../../stages/anchor.ts"
import { decodeResponses } from "../../stages/decode-responses.ts"
import { downloadDocuments, downloadModel, downloadTokenizer } from "../../stages/download.ts"
import { tokenize } from "../../stages/tokenize.ts"
import { trajectories } from "../../stages/trajectories.ts"
import { pipeline } from "../support/commandLine.ts"
import { fixtureModel } from "../support/gridFixtures.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { tinyConfig, tinyLatent, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { bruteForward } from "../models/bruteForce.ts"
import * as ort from "../../src/engines/ort/runtime.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterAll(() => directory.remove())

const assets = fileURLToPath(new URL("../../assets", import.meta.url))
const call = (...words: ReadonlyArray<string>) => pipeline(directory.path, words)
const tokens = [5, 300, 2, 1999, 7]

const run = async (file: string, feeds: { readonly [name: string]: ort.Tensor } = {}) => {
  const session = await ort.InferenceSession.create(readFileSync(join(directory.path, file)))
  const ids = new ort.Tensor("int32", Int32Array.from(tokens), [1, tokens.length])
  const { logits } = await session.run({ tokens: ids, ...feeds })
  return { data: logits!.data as Float32Array, dims: logits!.dims, inputs: session.inputNames }
}

describe("pipeline export --to files and anchors", () => {
  it("writes copies of files, and the field's layouts: a safetensors file per sequence under its key, and a manifest", async () => {
    writeFileSync(
      join(directory.path, "texts.jsonl"),
      `${JSON.stringify({ text: "The people of the United States" })}\n`
    )
    const states = Pipeline.make(
      "states",
      { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
      () => {
        const teacher = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
        const sequences = tokenize({
          corpus: downloadDocuments({ source: `file:${join(directory.path, "texts.jsonl")}` }),
          tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }),
          maxSeqLen: 64
        })
        return [
          anchor({ teacher, sequences, layers: [0, 2] }),
          trajectories({ teacher, sequences, mode: "lr", numSteps: 2 }),
          decodeResponses({ teacher, sequences, blockSize: 4, newTokens: 6 }).sequences,
          fixtureModel({ row: "some", config: {} }).log
        ]
      }
    )
    const cache = join(directory.path, "kept")
    const ran = await runPipeline(states, { cache, layers: [assets], engine: numericClass("ort") })
    assert.deepStrictEqual(ran.failures, [])
    const { code, stderr } = call("export", "states/anchor", "--to", "anchors", "-o", "anchors", "--cache", cache)
    assert.strictEqual(code, 0, stderr)
    const copied = call("export", "states/download-model", "--to", "files", "-o", "copied", "--cache", cache)
    assert.strictEqual(copied.code, 0, copied.stderr)
    const config = (folder: string) => readFileSync(join(directory.path, folder, "config.json"), "utf8")
    assert.strictEqual(config("copied"), config("tiny"))
    const orders = call("export", "states/trajectories", "--to", "trajectories", "-o", "orders.jsonl", "--cache", cache)
    assert.strictEqual(orders.code, 0, orders.stderr)
    const [record, ...more] = readFileSync(join(directory.path, "orders.jsonl"), "utf8").trimEnd().split("\n")
    assert.deepStrictEqual(more, [])
    const { ids_sha, mask_token_id, prompt_len, trajectory, ...rest } = JSON.parse(record!) as {
      readonly [field: string]: number | string | ReadonlyArray<ReadonlyArray<number>>
    }
    const rows = trajectory as ReadonlyArray<ReadonlyArray<number>>
    const masks = rows.map(state => state.filter(id => id === mask_token_id).length)
    // From all of the response to nothing, and the prompt always there.
    assert.strictEqual(masks[0], rows[0]!.length - Number(prompt_len))
    assert.strictEqual(masks.at(-1), 0)
    assert.deepStrictEqual(
      masks,
      masks.toSorted((a, b) => b - a)
    )
    assert.deepStrictEqual(Object.keys(rest).sort(), ["idx", "nfe", "tokenizer_hash"])
    assert.match(String(ids_sha), /^[0-9a-f]{16}/)
    // Of an action's outputs that which is meant.
    const decoded = call(
      "export",
      "states/decode-responses",
      "--to",
      "trajectories",
      "-o",
      "own.jsonl",
      "--cache",
      cache
    )
    assert.strictEqual(decoded.code, 0, decoded.stderr)
    assert.lengthOf(readFileSync(join(directory.path, "own.jsonl"), "utf8").trimEnd().split("\n"), 1)
    const other = call("export", "states/anchor", "--to", "trajectories", "-o", "wrong.jsonl", "--cache", cache)
    assert.include(other.stderr, "is no set of trajectories, but anchors")
    // Of an action's outputs the log has panels.
    const drawn = call("export", "states/fixture-model", "--to", "panels", "-o", "panels", "--cache", cache)
    assert.strictEqual(drawn.code, 0, drawn.stderr)
    assert.deepStrictEqual(
      readdirSync(join(directory.path, "panels")).sort(),
      [100, 200].flatMap(step => ["history", "prediction", "trajectory"].map(name => `step_${step}_${name}.svg`))
    )
    assert.match(readFileSync(join(directory.path, "panels", "step_200_trajectory.svg"), "utf8"), /<svg [^]*step 200/)
    const none = call("export", "states/anchor", "--to", "panels", "-o", "none", "--cache", cache)
    assert.include(none.stderr, "is no log of a training, but anchors")
    const at = (name: string) => join(directory.path, "anchors", name)
    const manifest = JSON.parse(readFileSync(at("manifest.json"), "utf8")) as object
    assert.include(manifest, { format_version: 1, num_hidden_layers: 2, hidden_size: 8, dtype: "bfloat16" })
    const names = readdirSync(at(""), { recursive: true, encoding: "utf8" }).filter(name =>
      name.endsWith("safetensors")
    )
    assert.strictEqual(names.length, 1)

    // Read as the format says, without our reader.
    const bytes = readFileSync(at(names[0]!))
    const start = 8 + Number(bytes.readBigUInt64LE(0))
    const header = JSON.parse(bytes.subarray(8, start).toString("utf8")) as {
      readonly [name: string]: {
        readonly dtype: string
        readonly shape: ReadonlyArray<number>
        readonly data_offsets: [number, number]
      }
    }
    assert.deepStrictEqual(Object.keys(header).sort(), ["hidden_layer_0", "hidden_layer_2", "input_ids"])
    const content = (name: string) => bytes.subarray(...header[name]!.data_offsets.map(offset => start + offset))
    const raw = content("input_ids")
    const ids = Array.from({ length: raw.length / 8 }, (_, i) => Number(raw.readBigInt64LE(8 * i)))
    const key = createHash("sha256").update(raw).digest("hex").slice(0, 16)
    assert.strictEqual(names[0], join(key.slice(0, 2), `${key}.safetensors`))
    const brute = bruteForward(tinyConfig, tinyWeight, ids, true).states
    for (const layer of [0, 2]) {
      const { dtype, shape } = header[`hidden_layer_${layer}`]!
      assert.deepStrictEqual([dtype, shape], ["BF16", [ids.length, 8]])
      const stored = content(`hidden_layer_${layer}`)
      for (const [i, value] of brute[layer]!.flat().entries()) {
        const wide = new Uint32Array([stored.readUInt16LE(2 * i) << 16])
        const read = new Float32Array(wide.buffer)[0]!
        assert.closeTo(read, value, 0.005 * Math.abs(value) + 1e-4)
      }
    }
    const wrong = call("export", "states/tokenize", "--to", "anchors", "-o", "other", "--cache", cache)
    assert.match(wrong.stderr, /is no set of anchors, but token-sequences/)
  })
})

describe("pipeline export --to program and --to text", () => {
  it("write the program that engines are given, which computes the model's logits, and the same to be read", () => {
    for (const format of ["program", "text"]) {
      const { code, stderr } = call("export", "tiny", "--to", format, "-o", `tiny.${format}`, "--length", "5")
      assert.strictEqual(code, 0, stderr)
    }
    const read = (name: string) => readFileSync(join(directory.path, name), "utf8")
    const program = Result.getOrThrow(decodeProgram(read("tiny.program")))
    const given = Object.fromEntries(
      program.inputs.map(({ name }) => [name, name === "tokens" ? tokens : [...tinyWeight(name)]])
    )
    const expected = bruteForward(tinyConfig, tinyWeight, tokens, true).logits.flat()
    for (const [i, value] of evaluate(program, given)["logits"]!.entries()) assert.closeTo(value, expected[i]!, 1e-4)
    assert.strictEqual(read("tiny.text"), programText(program))
    assert.match(read("tiny.text"), /^%\d+ i32\[1, 5\] = input tokens$/m)
  })

  it("are written of an exported program again, which is checked", async () => {
    const read = (name: string) => readFileSync(join(directory.path, name), "utf8")
    for (const format of ["text", "onnx"]) {
      const { code, stderr } = call("export", "tiny.program", "--to", format, "-o", `again.${format}`)
      assert.strictEqual(code, 0, stderr)
    }
    assert.strictEqual(read("again.text"), read("tiny.text"))
    const program = Result.getOrThrow(decodeProgram(read("tiny.program")))
    const weights = program.inputs.flatMap(({ name, value }) => {
      const data = Float32Array.from(name === "tokens" ? [] : tinyWeight(name))
      return name === "tokens" ? [] : [[name, new ort.Tensor("float32", data, program.values[value]!.shape)] as const]
    })
    const { data } = await run("again.onnx", Object.fromEntries(weights))
    const expected = bruteForward(tinyConfig, tinyWeight, tokens, true).logits.flat()
    for (const [i, value] of data.entries()) assert.closeTo(value, expected[i]!, 1e-4)

    writeFileSync(join(directory.path, "broken.json"), read("tiny.program").replace('"op":"add"', '"op":"launch"'))
    const broken = call("export", "broken.json", "--to", "text", "-o", "broken.text")
    assert.strictEqual(broken.code, 2)
    assert.match(broken.stderr, /broken\.json.*there is no op "launch"/s)
  })
})

describe("pipeline export --to onnx", () => {
  it("writes a graph that another runtime runs to the same logits, causal or bidirectional", async () => {
    for (const flags of [[], ["--bidirectional"]]) {
      const file = `tiny${flags.length}.onnx`
      const { code, stderr } = call("export", "tiny", "--to", "onnx", "-o", file, "--length", "5", ...flags)
      assert.strictEqual(code, 0, stderr)
      const { data, dims, inputs } = await run(file)
      assert.deepStrictEqual(inputs, ["tokens"])
      assert.deepStrictEqual(dims, [1, 5, tinyConfig.vocabSize])
      const expected = bruteForward(tinyConfig, tinyWeight, tokens, flags.length === 0).logits.flat()
      for (const [i, value] of expected.entries()) assert.closeTo(data[i]!, value, 1e-4)
    }
  })

  it("without weights has them as inputs, by their names in the checkpoint", async () => {
    const { code, stderr } = call("export", "tiny", "--to", "onnx", "-o", "graph.onnx", "--without-weights")
    assert.strictEqual(code, 0, stderr)
    const session = await ort.InferenceSession.create(readFileSync(join(directory.path, "graph.onnx")))
    assert.include(session.inputNames, "model.layers.1.self_attn.q_norm.weight")
    assert.isBelow(readFileSync(join(directory.path, "graph.onnx")).length, 40_000)
  })

  it("is that of the language model alone where a latent model stands beside it, in every format", async () => {
    await writeTinyModel(join(directory.path, "latent"), tinyConfig, tinyLatent)
    for (const format of ["onnx", "program", "text"]) {
      const [alone, beside] = ["tiny", "latent"].map(model => {
        const file = `${model}-alone.${format}`
        const { code, stderr } = call("export", model, "--to", format, "-o", file, "--length", "5")
        assert.strictEqual(code, 0, stderr)
        return readFileSync(join(directory.path, file))
      })
      assert.isTrue(beside!.equals(alone!), format)
    }
  })

  it("overwrites nothing, and says what cannot be exported", () => {
    const again = call("export", "tiny", "--to", "onnx", "-o", "graph.onnx")
    assert.strictEqual(again.code, 2)
    assert.include(again.stderr, "--output graph.onnx: is there already")
    const length = call("export", "tiny", "--to", "onnx", "-o", "x.onnx", "--length", "0")
    assert.include(length.stderr, '--length: "0". Expected: at least 1')
    const nothing = call("export", "nothing", "--to", "files", "-o", "x")
    assert.strictEqual(nothing.code, 2)
    assert.include(nothing.stderr, "nothing was ever run with the cache")
  })
})
