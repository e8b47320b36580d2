/** Data that the stages of the pipeline `evaluate` cannot use, completions that were made elsewhere, and programs that are run. */
import { assert, describe, it } from "vitest"
import { setPermission } from "../../src/sandbox/permission.ts"
import { missing } from "../support/sandboxed.ts"
import { attemptsOf, example, failureOf, functions, prepare, resultOf, run } from "../support/suiteRuns.ts"

prepare()

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
      const ran = await run({ completions, rows: functions, runs: true, ks: [1, 2] })
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
      const above = await run({ completions, rows: functions, runs: true, ks: [1, 3] })
      assert.match(failureOf(above), /pass@3 needs 3 samples of each problem, and Functions\/0 has 2\nlower score\.ks/)
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
