/** The stages of the pipeline `evaluate`: what is made anew when something changes, what a score consists of, and what is refused. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Schema } from "effect"
import { afterAll, afterEach, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { numericClass } from "../../src/engines/names.ts"
import { SuiteResult } from "../../src/evaluation/suiteFiles.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { setPermission } from "../../src/sandbox/permission.ts"
import { downloadDocuments, downloadModel } from "../../stages/download.ts"
import { judge } from "../../stages/judge.ts"
import { questions } from "../../stages/questions.ts"
import { runPrograms } from "../../stages/run-programs.ts"
import { sample } from "../../stages/sample.ts"
import { score } from "../../stages/score.ts"
import { type Ran, runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { missing } from "../support/sandboxed.ts"
import { modelConfig, writeTinyModel } from "../support/tinyModel.ts"

const example = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../docs/examples/evaluate/${name}`, import.meta.url)), "utf8")
const functions = example("functions.jsonl").trim().split("\n")

let shared: ReturnType<typeof temporaryDirectory>
let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  shared = temporaryDirectory()
  // Prompts of these problems are longer than the tiny model's usual 64 tokens.
  await writeTinyModel(join(shared.path, "tiny"), modelConfig({ vocabSize: 2048, ropeTheta: 10_000 }))
  const config = join(shared.path, "tiny", "config.json")
  const fields = JSON.parse(readFileSync(config, "utf8")) as object
  writeFileSync(config, JSON.stringify({ ...fields, max_position_embeddings: 256 }))
})
afterAll(() => shared.remove())
beforeEach(() => {
  directory = temporaryDirectory()
  setPermission(true)
})
afterEach(() => {
  setPermission(false)
  directory.remove()
})

const file = (name: string, lines: ReadonlyArray<string>): string => {
  mkdirSync(directory.path, { recursive: true })
  const path = join(directory.path, name)
  writeFileSync(path, lines.map(line => `${line}\n`).join(""))
  return `file:${path}`
}

interface Options {
  readonly task?: Parameters<typeof questions>[0]["task"]
  readonly protocol?: string
  readonly judgedBy?: string
  readonly rows?: ReadonlyArray<string>
  readonly completions?: ReadonlyArray<string>
  readonly sample?: object
  readonly ks?: ReadonlyArray<number>
  /** Whether programs are run; `unrun`: scored without. */
  readonly runs?: boolean | "unrun"
}

const run = ({
  completions,
  judgedBy,
  ks = [1],
  protocol,
  rows = functions.slice(0, 2),
  runs = false,
  sample: drawing = {},
  task = "humaneval"
}: Options) => {
  const source = file("rows.jsonl", rows)
  const written = completions === undefined ? undefined : file("completions.jsonl", completions)
  const asked = { task, ...(protocol === undefined ? {} : { protocol }) }
  const pipeline = Pipeline.make(
    "suites-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const dataset = downloadDocuments({ source, dataType: "fields" })
      const judging = { task, dataset, ...(judgedBy === undefined ? asked : { protocol: judgedBy }) }
      const made = () =>
        sample({
          model: downloadModel({ source: `file:${join(shared.path, "tiny")}` }),
          questions: questions({ ...asked, dataset }),
          newTokens: 6,
          steps: 3,
          ...drawing
        } as Parameters<typeof sample>[0])
      const samples = written === undefined ? made() : undefined
      const attempts = judge(
        samples === undefined
          ? {
              ...judging,
              completions: downloadDocuments({ name: "completions", source: written!, dataType: "fields" })
            }
          : { ...judging, samples }
      )
      const verdicts = runs === true ? runPrograms({ attempts }) : undefined
      return runs !== false || (task !== "humaneval" && !task.startsWith("humaneval-infill"))
        ? score({
            attempts,
            ks,
            ...(samples === undefined ? {} : { samples }),
            ...(verdicts === undefined ? {} : { verdicts })
          })
        : attempts
    }
  )
  return runPipeline(pipeline, { cache: join(directory.path, "cache"), engine: numericClass("ort") })
}

const resultOf = (ran: Ran) => Schema.decodeUnknownSync(SuiteResult)(JSON.parse(ran.text("score", "score.json")))
const failureOf = (ran: Ran) => {
  assert.strictEqual(ran.status, "failed")
  const [{ advice, message }] = ran.failures as unknown as [{ readonly message: string; readonly advice?: string }]
  return `${message}\n${advice ?? ""}`
}
const made = (ran: Ran) => [ran.metric("sample", "samples/new"), ran.metric("sample", "samples/reused")]
const attemptsOf = (ran: Ran) =>
  ran
    .text("judge", "attempts.jsonl")
    .trim()
    .split("\n")
    .map(
      line => JSON.parse(line) as { readonly task_id: string; readonly completion: string; readonly program?: string }
    )

describe("samples", () => {
  it("are made one by one: more problems, more samples and another check decode what is missing, and nothing twice", async () => {
    const drawing = { samples: 2, batch: 2, decoding: { temperature: 0.8 } }
    const first = await run({ sample: drawing })
    assert.strictEqual(first.status, "done")
    assert.deepStrictEqual(made(first), [4, 0])
    const texts = attemptsOf(first)
    // Another way of judging the same answers.
    const judged = await run({ sample: drawing, judgedBy: "open-dllm" })
    assert.deepStrictEqual(judged.labels, ["judge"])
    // A problem more.
    const problems = await run({ sample: drawing, rows: functions.slice(0, 3) })
    assert.deepStrictEqual(made(problems), [2, 4])
    assert.deepStrictEqual(attemptsOf(problems).slice(0, 4), texts)
    // Samples more: those that were there stay.
    const samples = await run({ sample: { ...drawing, samples: 4 } })
    assert.deepStrictEqual(made(samples), [4, 4])
    const more = attemptsOf(samples)
    assert.deepStrictEqual([more[0], more[1], more[4], more[5]], texts)
    // evalplus asks the same questions.
    const plus = await run({ sample: drawing, task: "humaneval-plus" as "humaneval" })
    assert.deepStrictEqual(made(plus), [0, 4])
  })

  it("do not depend on what else is asked for: the same alone, in other batches of problems, and when some are missing", async () => {
    const drawing = { samples: 3, batch: 4, decoding: { temperature: 1 } }
    const all = attemptsOf(await run({ sample: drawing, rows: functions.slice(0, 3) }))
    directory.remove()
    const alone = attemptsOf(await run({ sample: drawing, rows: functions.slice(2, 3) }))
    assert.deepStrictEqual(alone, all.slice(6))
    directory.remove()
    await run({ sample: { ...drawing, samples: 1 }, rows: functions.slice(0, 3) })
    const later = await run({ sample: drawing, rows: functions.slice(0, 3) })
    assert.deepStrictEqual(made(later), [6, 3])
    assert.deepStrictEqual(attemptsOf(later), all)
    assert.strictEqual(new Set(all.map(({ completion, task_id }) => `${task_id} ${completion}`)).size, 9)
  })

  it("are made with as many tokens as asked, and what they took stands beside the score", async () => {
    const rows = Array.from({ length: 3 }, (_, i) =>
      JSON.stringify({ prompt: `Sort ${"dca"[i]} b a:`, response: "a b" })
    )
    const ran = await run({
      task: "sort",
      rows: rows.map(row => row.replace("Sort", "Sort")),
      sample: { newTokens: 6, steps: 3 }
    })
    if (ran.status === "failed") throw new Error(failureOf(ran))
    const result = resultOf(ran)
    assert.strictEqual(result.problems, 3)
    // 6 tokens in 3 passes.
    assert.isAtMost(result.tokensPerForward!, 2)
    assert.isAbove(result.tokensPerSecond!, 0)
    assert.deepStrictEqual(result.settings, {
      method: "masked",
      newTokens: 6,
      steps: 3,
      batch: 10,
      seed: 0,
      decoding: { temperature: 0, eps: 0.001, alg: "entropy", algTemp: 0, schedule: "quota" }
    })
  })

  it("fill gaps that are as long as the right answer, or as the settings say", async () => {
    const oracle = await run({ task: "humaneval-infill-single-line", protocol: "oracle" })
    assert.strictEqual(oracle.status, "done")
    assert.deepStrictEqual(
      attemptsOf(oracle).map(({ task_id: id }) => id),
      ["SingleLineInfilling/Functions/0/L0", ...[0, 1, 2, 3, 5].map(i => `SingleLineInfilling/Functions/1/L${i}`)]
    )
    const [first] = attemptsOf(oracle)
    const row = JSON.parse(functions[0]!) as { readonly prompt: string; readonly test: string }
    assert.strictEqual(first!.program, `${row.prompt}\n${first!.completion}\n${row.test}\ncheck(add)`)
  })

  it("are refused where a prompt, or a gap, is longer than the model was made for", async () => {
    const long = await run({ sample: { newTokens: 250 } })
    assert.match(failureOf(long), /Functions\/0: the prompt has \d+ tokens, and 250 new ones make more than the 256/)
    const gap = await run({ task: "humaneval-infill-single-line", sample: { newTokens: 300 } })
    assert.match(failureOf(gap), /a gap of 300 tokens does not fit into the 256/)
  })
})

describe("data that cannot be used", () => {
  const changed = (change: (row: { [field: string]: unknown }) => void): string => {
    const row = JSON.parse(functions[1]!) as { [field: string]: unknown }
    change(row)
    return JSON.stringify(row)
  }

  it.each([
    ["a field that is missing", changed(row => delete row["entry_point"]), /rows\.jsonl:2:1: entry_point/],
    [
      "a name that another row has",
      functions[0]!,
      /rows\.jsonl:2:\d+: task_id is "Functions\/0", which another row has/
    ],
    [
      "an entry point that is no name",
      changed(row => (row["entry_point"] = "f(); import os")),
      /rows\.jsonl:2:\d+: entry_point/
    ],
    ["tests that are no text", changed(row => (row["test"] = 5)), /rows\.jsonl:2:\d+: test/]
  ] as const)("is refused with file and line: %s", async (_, row, message) => {
    assert.match(failureOf(await run({ rows: [functions[0]!, row] })), message)
  })

  it("is refused where worked examples are not in it", async () => {
    const row = JSON.stringify({ task_id: 11, text: "t", code: "c", test_list: ["a", "b", "c"] })
    const message = failureOf(await run({ task: "mbpp", rows: [row] }))
    assert.match(message, /no rows with task_id 2, 3, 4/)
    assert.match(message, /whole file/)
  })
})

describe("completions that were made elsewhere", () => {
  const line = (task_id: string, completion = "    return 1\n") => JSON.stringify({ task_id, completion })

  it.each([
    [
      "lacks a problem",
      [line("Functions/0")],
      /completions\.jsonl: 1 of 2 problems of humaneval have no sample: Functions\/1/
    ],
    [
      "names one that is not there",
      [line("Functions/0"), line("Functions/9")],
      /completions\.jsonl:2:\d+: task_id is "Functions\/9", which is no problem/
    ],
    [
      "has a line without a completion",
      [line("Functions/0"), '{"task_id": "Functions/1"}'],
      /completions\.jsonl:2:1: completion/
    ],
    ["has a broken line", [line("Functions/0"), "{"], /completions\.jsonl:2:/]
  ] as const)("are refused with the place where the file %s", async (_, completions, message) => {
    assert.match(failureOf(await run({ completions })), message)
  })

  it("are judged as they stand", async () => {
    const attempts = attemptsOf(
      await run({ completions: [line("Functions/0", "    return 1\n\ndef x(): pass\n"), line("Functions/1")] })
    )
    assert.strictEqual(attempts[0]!.completion, "    return 1\n\ndef x(): pass\n")
  })
})

describe("programs", () => {
  it("are not run where nobody allowed it, and nothing is scored", async () => {
    setPermission(false)
    const completions = example("completions.jsonl").trim().split("\n")
    const message = failureOf(await run({ completions, rows: functions, runs: true }))
    assert.match(message, missing === undefined ? /--allow-code-execution/ : /--allow-code-execution|bubblewrap/)
  })

  it.skipIf(missing !== undefined)(
    "give pass@k with intervals, results in upstream's format, and are run once",
    async () => {
      const completions = example("completions.jsonl").trim().split("\n")
      const ran = await run({ completions, rows: functions, runs: true, ks: [1, 2, 3] })
      if (ran.status === "failed") throw new Error(failureOf(ran))
      const result = resultOf(ran)
      assert.deepStrictEqual(
        result.passAtK.map(({ k, value }) => [k, value]),
        [
          [1, 0.5],
          [2, 1]
        ]
      )
      assert.deepStrictEqual(
        result.byProblem,
        functions.map((_, i) => ({ task_id: `Functions/${i}`, samples: 2, right: 1 }))
      )
      assert.deepStrictEqual(result.results, { "failed: AssertionError": 3, passed: 5, "timed out": 2 })
      assert.isTrue(result.partial)
      assert.strictEqual(result.of, 164)
      assert.match(result.python!, /^3\.\d+\.\d+/)
      const lines = ran.text("score", "samples.jsonl_results.jsonl").trim().split("\n")
      assert.deepStrictEqual(JSON.parse(lines[0]!), {
        task_id: "Functions/0",
        completion: "    return a + b\n",
        result: "passed",
        passed: true
      })
      assert.strictEqual(
        ran.text("score", "samples.jsonl"),
        completions.map(each => `${JSON.stringify(JSON.parse(each))}\n`).join("")
      )
      // One completion more: its program alone is run.
      const again = await run({
        completions: [...completions, JSON.stringify({ task_id: "Functions/0", completion: "    return b + a\n" })],
        rows: functions,
        runs: true
      })
      assert.deepStrictEqual(
        [again.metric("run-programs", "programs/new"), again.metric("run-programs", "programs/reused")],
        [1, 10]
      )
    }
  )

  it("must have been run for a score", async () => {
    const completions = example("completions.jsonl").trim().split("\n")
    assert.match(
      failureOf(await run({ completions, rows: functions, runs: "unrun" })),
      /a program of Functions\/0 was not run/
    )
  })
})
