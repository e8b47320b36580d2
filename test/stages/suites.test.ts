/** The stage `sample` and those around it: what is made anew when something changes, and what is refused. */
import { assert, describe, it } from "vitest"
import { attemptsOf, failureOf, forget, functions, made, prepare, resultOf, run } from "../support/suiteRuns.ts"

prepare()

describe("samples", () => {
  it("are made one by one: more problems, more samples and another check decode what is missing, and nothing twice", async () => {
    const drawing = { samples: 2, decoding: { temperature: 0.8 } }
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
    const drawing = { samples: 3, decoding: { temperature: 1 } }
    const all = attemptsOf(await run({ sample: drawing, rows: functions.slice(0, 3) }))
    forget()
    const alone = attemptsOf(await run({ sample: drawing, rows: functions.slice(2, 3) }))
    assert.deepStrictEqual(alone, all.slice(6))
    forget()
    await run({ sample: { ...drawing, samples: 1 }, rows: functions.slice(0, 3) })
    const later = await run({ sample: drawing, rows: functions.slice(0, 3) })
    assert.deepStrictEqual(made(later), [6, 3])
    assert.deepStrictEqual(attemptsOf(later), all)
    assert.strictEqual(new Set(all.map(({ completion, task_id }) => `${task_id} ${completion}`)).size, 9)
  })

  it("of a model that draws noise do not depend on company either, where tokens are not drawn", async () => {
    const all = attemptsOf(await run({ vfm: true, rows: functions.slice(0, 3) }))
    forget()
    const alone = attemptsOf(await run({ vfm: true, rows: functions.slice(1, 2) }))
    assert.deepStrictEqual(alone, all.slice(1, 2))
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
