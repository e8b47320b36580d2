import { spawnSync } from "node:child_process"
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { parameterSpecs } from "../../src/models/config.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { hybridConfig, tinyConfig, tinyLatent, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterAll(() => directory.remove())

const call = (...words: ReadonlyArray<string>) => pipeline(directory.path, ["generate", ...words])

interface Generated {
  readonly mode: string
  readonly forwards?: number
  readonly texts: ReadonlyArray<{
    readonly prompt: string
    readonly text: string
    readonly tokens: ReadonlyArray<number>
    readonly stopped: string
  }>
}

describe("pipeline generate", () => {
  it("prints the continuation on stdout and nothing else; the seed decides", () => {
    const first = call("-m", "tiny", "-n", "12", "--seed", "3", "The people")
    assert.strictEqual(first.code, 0, first.stderr)
    assert.match(first.stderr, /^tiny, 12 tokens \(length\), \d+ tok\/s, seed 3\n$/)
    assert.isTrue(first.stdout.endsWith("\n"))
    assert.strictEqual(call("-m", "tiny", "-n", "12", "--seed", "3", "The people").stdout, first.stdout)
    assert.notStrictEqual(call("-m", "tiny", "-n", "12", "--seed", "4", "The people").stdout, first.stdout)
    const json = JSON.parse(call("-m", "tiny", "-n", "12", "--seed", "3", "--json", "The people").stdout) as Generated
    assert.strictEqual(`${json.texts[0]!.text}\n`, first.stdout)
    assert.strictEqual(json.texts[0]!.tokens.length, 12)
  })

  it("takes the most likely token at temperature 0, and as many as the model has room for", () => {
    const json = (...words: ReadonlyArray<string>) =>
      JSON.parse(call("-m", "tiny", "--json", "-t", "0", ...words, "The people").stdout) as Generated
    assert.deepStrictEqual(json("--seed", "1").texts, json("--seed", "2").texts)
    const { stopped, tokens } = json().texts[0]!
    assert.isTrue(stopped === "end of text" || tokens.length > 55)
  })

  it("says what is wrong with the prompt, the numbers and the model", () => {
    const refused = (expected: RegExp, ...words: ReadonlyArray<string>) => {
      const { code, stderr, stdout } = call(...words)
      assert.strictEqual(code, 2, stderr)
      assert.strictEqual(stdout, "")
      assert.match(stderr, expected)
    }
    refused(/prompt: is empty/, "-m", "tiny", "")
    refused(
      /--max-new-tokens 90: the prompt has \d+ tokens; the model knows 64 positions\n  at most \d+ new/,
      "-m",
      "tiny",
      "-n",
      "90",
      "The"
    )
    refused(/prompt: the prompt has \d+ tokens.*\n  shorten the prompt/, "-m", "tiny", "The people ".repeat(70))
    refused(/--max-new-tokens: must be a whole number from 1 on/, "-m", "tiny", "-n", "0", "The")
    refused(/--temperature: must be a number from 0 on/, "-m", "tiny", "-t", "-1", "The")
    refused(/--top-p: must be a number above 0/, "-m", "tiny", "--top-p", "0", "The")
    refused(/--top-k: must be a whole number from 1 on/, "-m", "tiny", "--top-k", "0", "The")
    refused(/--steps: must be a whole number from 1 on/, "-m", "tiny", "--steps", "0", "The")
    refused(/--steps: must be at most 100000/, "-m", "tiny", "--steps", "1000000000", "The")
    refused(/--draft-tokens: drafts are for texts/, "-m", "tiny", "--mode", "diffusion", "--draft-tokens", "2", "The")
    refused(/--eps: must be a number between 0 and 1/, "-m", "tiny", "--eps", "1", "The")
    refused(/--num-return-sequences: must be a whole/, "-m", "tiny", "--num-return-sequences", "0", "The")
    refused(/embedded:nothing: does not ship with the program/, "-m", "embedded:nothing", "The")
    refused(/embedded:web50: is no model, but documents/, "-m", "embedded:web50", "The")
    refused(/nothing was ever run/, "-m", "pretrain-teacher/pretrain", "The")
    refused(/\.\/nowhere: is no directory/, "-m", "./nowhere", "The")
    refused(/\.\/tiny\/config.json: is no directory/, "-m", "./tiny/config.json", "The")
  })

  it("decodes several texts at once by diffusion, and keeps and lists every step", () => {
    const words = ["-m", "tiny", "--mode", "diffusion", "-n", "6", "--steps", "3", "--num-return-sequences", "2"]
    const prompts = ["The people", "In"]
    const file = join(directory.path, "steps.jsonl")
    const { code, stderr, stdout } = call(...words, "--verbose", "--history-out", file, ...prompts)
    assert.strictEqual(code, 0, stderr)
    const json = JSON.parse(call(...words, "--json", ...prompts).stdout) as Generated
    assert.strictEqual(json.mode, "diffusion")
    assert.strictEqual(json.forwards, 3)
    assert.deepStrictEqual(
      json.texts.map(({ prompt }) => prompt),
      ["The people", "The people", "In", "In"]
    )
    assert.strictEqual(json.texts.map(({ text }) => `${text}\n`).join(""), stdout)
    assert.strictEqual(new Set(json.texts.map(({ text }) => text)).size, 4)

    const steps = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map(
        line =>
          JSON.parse(line) as {
            readonly step: number
            readonly prompt: number
            readonly ids: Array<number>
            readonly confidence: Array<number | null>
            text: string
          }
      )
    assert.deepStrictEqual(
      steps.map(({ prompt, step }) => [step, prompt]),
      [1, 2, 3].flatMap(step => [0, 1, 2, 3].map(prompt => [step, prompt]))
    )
    const masks = (ids: ReadonlyArray<number>) => ids.filter(id => id === 2047).length
    for (const { confidence, ids, prompt, step, text } of steps) {
      for (const p of confidence) if (p !== null) assert.isTrue(p > 0 && p <= 1)
      const before = steps.find(each => each.step === step - 1 && each.prompt === prompt)
      for (const [i, id] of ids.entries()) {
        assert.strictEqual(confidence[i] === null, id === 2047)
        if (before?.ids[i] === id) assert.strictEqual(confidence[i], before.confidence[i])
      }
      assert.strictEqual(masks(ids), 6 - 2 * step)
      assert.strictEqual(text.split("▁").length - 1, masks(ids))
    }
    assert.deepStrictEqual(
      steps.slice(-4).map(({ text }) => `${text}\n`),
      json.texts.map(({ text }) => `${text}\n`)
    )
    assert.strictEqual(stderr.match(/^ {3}\d #\d /gm)?.length, 12)
  })

  it("reveals with a threshold whatever is likely enough, a block at a time, and shows the steps", () => {
    const asked = ["--mode", "diffusion", "-m", "tiny", "-n", "6", "-t", "0", "--json", "The people", "In"]
    const of = (...words: ReadonlyArray<string>) => {
      const { code, stderr, stdout } = call(...words, ...asked)
      assert.strictEqual(code, 0, stderr)
      return JSON.parse(stdout) as Generated
    }
    // An untrained model is sure of nothing, and of everything by a low enough standard.
    const careful = of("--threshold", "1")
    assert.strictEqual(careful.forwards, 6)
    assert.deepStrictEqual(of("--alg", "maskgit_plus", "--alg-temp", "0").texts, careful.texts)
    assert.strictEqual(of("--threshold", "0.0001").forwards, 1)
    const file = join(directory.path, "blocks.jsonl")
    const blocks = of("--threshold", "0.0001", "--block-length", "2", "--history-out", file)
    assert.strictEqual(blocks.forwards, 3)
    const steps = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map(line => JSON.parse(line) as { readonly step: number; readonly prompt: number; readonly ids: Array<number> })
    for (const { ids, step } of steps) assert.strictEqual(ids.filter(id => id === 2047).length, 6 - 2 * step)
    const refused = (expected: RegExp, ...words: ReadonlyArray<string>) => {
      const { code, stderr } = call(...words, ...asked)
      assert.strictEqual(code, 2, stderr)
      assert.match(stderr, expected)
    }
    refused(/--alg: entropy does not go with threshold/, "--threshold", "0.9", "--alg", "entropy")
    refused(/--alg: p2 does not go block by block/, "--block-length", "2", "--alg", "p2")
    refused(/--alg-temp: does not go with threshold/, "--threshold", "0.9", "--alg-temp", "0.5")
    refused(/--schedule: must be quota where threshold/, "--threshold", "0.9", "--schedule", "kappa")
    refused(/--threshold: must be a number above 0/, "--threshold", "0")
    refused(/--block-length: must be a whole number from 1/, "--block-length", "0")
  })

  it("counts forward passes", () => {
    for (const [steps, told] of [
      ["1", "1 forward pass,"],
      ["2", "2 forward passes,"]
    ] as const) {
      const { stderr } = call("--mode", "diffusion", "-m", "tiny", "-n", "4", "--steps", steps, "the people")
      assert.include(stderr, told)
    }
  })

  it("takes every line of standard input as a prompt, until exit", () => {
    const { stdout } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, "../../bin/pipeline.mjs"), "generate", "-m", "tiny", "-n", "4", "--json"],
      { cwd: directory.path, input: "The people\n\nIn\nexit\nThe\n", encoding: "utf8" }
    )
    const alone = (prompt: string) =>
      (JSON.parse(call("-m", "tiny", "-n", "4", "--json", prompt).stdout) as Generated).texts[0]!
    const answers = stdout.split(/(?<=^})\n/m).filter(part => part.trim() !== "")
    assert.deepStrictEqual(
      answers.map(part => (JSON.parse(part) as Generated).texts[0]),
      [alone("The people"), alone("In")]
    )
  })

  it("goes on token by token from the language model alone where a latent model stands beside it", async () => {
    await writeTinyModel(join(directory.path, "latent"), tinyConfig, tinyLatent)
    const [alone, beside] = ["tiny", "latent"].map(model => {
      const { code, stderr, stdout } = call("--mode", "ar", "-m", model, "-n", "6", "--json", "the people")
      assert.strictEqual(code, 0, stderr)
      return (JSON.parse(stdout) as Generated).texts
    })
    assert.deepStrictEqual(beside, alone)
  })

  it("goes on token by token, and by diffusion, from a hybrid model", async () => {
    const config = hybridConfig({ vocab_size: 2048 })
    await writeTinyModel(join(directory.path, "hybrid"), config)
    const generated = (...words: ReadonlyArray<string>) => {
      const { code, stderr, stdout } = call("-m", "hybrid", "-t", "0", "-n", "6", "--json", ...words)
      assert.strictEqual(code, 0, stderr)
      return JSON.parse(stdout) as Generated
    }
    const { mode, texts } = generated("--mode", "ar", "the people", "they")
    assert.strictEqual(mode, "ar")
    const tokenizer = loadFrom(shippedDirectory)
    const values = new Map(parameterSpecs(config).map(spec => [spec.name, tinyWeight(spec.name, config)]))
    for (const { prompt, tokens } of texts) {
      const ids = [...tokenizer.encode(prompt)]
      for (const token of tokens) {
        const row = bruteForward(config, name => values.get(name)!, ids, true).logits.at(-1)!
        const likely = [...row].with(tokenizer.maskId, -Infinity)
        assert.strictEqual(token, likely.indexOf(Math.max(...likely)))
        ids.push(token)
      }
    }
    assert.strictEqual(generated("--mode", "diffusion", "the people").texts[0]!.tokens.length, 6)
  })

  it("reads a prompt from standard input", () => {
    const { stdout } = spawnSync(
      process.execPath,
      [join(import.meta.dirname, "../../bin/pipeline.mjs"), "generate", "-m", "tiny", "-n", "4", "-"],
      { cwd: directory.path, input: "The people\n", encoding: "utf8" }
    )
    assert.strictEqual(stdout, call("-m", "tiny", "-n", "4", "The people").stdout)
  })

  it("decodes a model as its configuration says: by diffusion, and not token by token where it does not shift", async () => {
    const unshifted = join(directory.path, "unshifted")
    await writeTinyModel(unshifted)
    const config = join(unshifted, "config.json")
    const fields = JSON.parse(readFileSync(config, "utf8")) as object
    writeFileSync(config, JSON.stringify({ ...fields, token_shift: false }))
    const { code, stderr, stdout } = call("-m", "unshifted", "-n", "3", "--json", "The")
    assert.strictEqual(code, 0, stderr)
    assert.strictEqual((JSON.parse(stdout) as Generated).mode, "diffusion")
    assert.match(call("-m", "unshifted", "--mode", "ar", "The").stderr, /--mode ar: the model predicts every token at/)
    writeFileSync(config, JSON.stringify({ ...fields, token_shift: "no" }))
    assert.match(call("-m", "unshifted", "The").stderr, /token_shift is "no"; it must be true or false/)
  })

  it("says so when tokenizer and weights do not belong together, and when there is no room for a mask", async () => {
    await writeTinyModel(join(directory.path, "small"), { ...tinyConfig, vocabSize: 1000 })
    const { code, stderr } = call("-m", "small", "The people")
    assert.strictEqual(code, 1)
    assert.match(stderr, /^error tokenizer.json has tokens up to id 2047, but the model's embedding only 1000 rows/)

    // The shipped tokenizer without its mask, which then is the first free id.
    const full = join(directory.path, "full")
    await writeTinyModel(full, { ...tinyConfig, vocabSize: 2047 })
    const change = (name: string, without: (json: Record<string, unknown>) => object) => {
      const file = join(full, name)
      writeFileSync(file, JSON.stringify(without(JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>)))
    }
    change("tokenizer.json", json => ({
      ...json,
      added_tokens: (json["added_tokens"] as ReadonlyArray<{ readonly id: number }>).filter(({ id }) => id !== 2047)
    }))
    change("tokenizer_config.json", json => ({ ...json, mask_token: null }))
    assert.strictEqual(call("-m", "full", "-n", "3", "The people").code, 0)
    assert.match(
      call("-m", "full", "--mode", "diffusion", "The people").stderr,
      /--mode diffusion: the mask token has id 2047, but the model's embedding has 2047 rows/
    )
  })

  it("names what a broken model lacks", async () => {
    const broken = join(directory.path, "broken")
    await writeTinyModel(broken)
    renameSync(join(broken, "tokenizer.json"), join(broken, "elsewhere.json"))
    assert.match(call("-m", "broken", "The").stderr, /the model has no tokenizer.json/)
    renameSync(join(broken, "elsewhere.json"), join(broken, "tokenizer.json"))
    const config = JSON.parse(readFileSync(join(broken, "config.json"), "utf8")) as object
    const configured = (changes: object) => {
      writeFileSync(join(broken, "config.json"), JSON.stringify({ ...config, ...changes }))
      return call("-m", "broken", "The").stderr
    }
    // Found out from the files' headers, before memory is asked for.
    assert.match(configured({ vocab_size: 100_000 }), /of another shape: model.embed_tokens.weight is/)
    assert.match(configured({ hidden_size: 4096 }), /of another shape: model.embed_tokens.weight is/)
    for (const [field, size] of Object.entries({ vocab_size: 1e12, hidden_size: 2 ** 50, num_hidden_layers: 1e9 }))
      assert.match(configured({ [field]: size }), new RegExp(`config.json: .*\\n  at \\["${field}"\\]`))
    writeFileSync(join(broken, "config.json"), "{")
    assert.match(call("-m", "broken", "The").stderr, /config.json: /)
    rmSync(join(broken, "config.json"))
    assert.match(call("-m", "broken", "The").stderr, /the model has no config.json/)
  })
})
