/** Right answers beside tokens per forward pass, with intervals and paired differences: beside the same bootstrap written plainly. */
import { Array as Arr } from "effect"
import { assert, describe, it } from "vitest"
import type { Answers, OperatingPoint, TaskResult } from "../../src/evaluation/results.ts"
import { aup } from "../../src/report/aup.ts"
import { sharesOf } from "../../src/report/operatingPoints.ts"
import { parallelismOf } from "../../src/report/parallelism.ts"
import { besideOf, type GridRow } from "../../src/report/rows.ts"
import { drawResamples, type Resampler } from "../../src/report/statistics.ts"
import { randomKey, uniformAt } from "../../src/tensor/random.ts"
import { fixtureRow } from "../support/gridFixtures.ts"

/** The ends of a 95 % interval are its 10th and 390th values. */
const resamples = 399
const resampler: Resampler = shape => drawResamples(shape, 3, resamples)

/** Answers that chance gives: right with a probability, in so many tokens and passes about. */
const answers = (
  point: OperatingPoint,
  { forwards, problems = 30, right, seed }: { right: number; forwards: number; problems?: number; seed: number }
): Answers => {
  const key = randomKey(seed, `answers ${JSON.stringify(point)}`)
  return {
    point,
    responses: Arr.makeBy(problems, i => ({
      outcome: uniformAt(key, 3 * i) < right ? "right" : "wrong",
      tokens: 4 + Math.floor(8 * uniformAt(key, 3 * i + 1)),
      forwards: forwards + Math.floor(3 * uniformAt(key, 3 * i + 2))
    })),
    sample: { prompt: "1 + 1 =", text: "2", answer: "2" }
  }
}

const result = (task: string, own: TaskResult["answers"], answerTokens = 12): TaskResult => ({
  weights: "",
  task,
  problems: own[0].responses.length,
  answerTokens,
  answers: own
})

const rowOf = (name: string, ...runs: ReadonlyArray<ReadonlyArray<TaskResult>>): GridRow => {
  const row = fixtureRow({ name })
  return {
    ...row,
    runs: runs.map(tasks => ({ ...row.runs[0], tasks: tasks.map(content => ({ digest: "", content })) }))
  }
}

/** Two tasks at three points. */
const run = (right: number, seed: number): ReadonlyArray<TaskResult> =>
  ["add", "sort"].map((task, t) =>
    result(task, [
      answers({ steps: 12 }, { right, forwards: 10, seed: seed + 10 * t }),
      answers({ steps: 6 }, { right: right - 0.02, forwards: 5, seed: seed + 10 * t + 1 }),
      answers({ threshold: 0.9 }, { right: right - 0.01, forwards: 3, seed: seed + 10 * t + 2 })
    ])
  )
const teacher = run(0.95, 77).map(({ answers: [slowest], ...rest }) => ({
  digest: "",
  content: { ...rest, answers: [slowest] as const }
}))

const quantile = (values: ReadonlyArray<number>, q: number) =>
  values.toSorted((a, b) => a - b)[Math.round((values.length + 1) * q) - 1]!

/** All AUPs of a task by its rows' runs of answers, for some problems and runs, by number. */
const plainAups = (
  all: ReadonlyArray<ReadonlyArray<TaskResult["answers"]>>,
  problems: ReadonlyArray<number>,
  runsOf: (count: number) => ReadonlyArray<number>
): ReadonlyArray<number> => {
  const points = all.map(runs =>
    runs[0]!.map((_, p) => {
      const chosen = runsOf(runs.length).flatMap(r => problems.map(i => runs[r]![p]!.responses[i]!))
      const sum = (of: (response: (typeof chosen)[number]) => number) => chosen.reduce((s, each) => s + of(each), 0)
      return {
        accuracy: (100 * sum(({ outcome }) => Number(outcome === "right"))) / chosen.length,
        rate: sum(each => each.tokens) / sum(each => each.forwards)
      }
    })
  )
  const best = Math.max(...points.flat().map(({ accuracy }) => accuracy))
  return points.map(own => aup(own, best))
}

const assertIs = (
  found: { readonly value: number; readonly low: number; readonly high: number } | undefined,
  value: number,
  draws: ReadonlyArray<number>
) => {
  assert.closeTo(found!.value, value, 1e-9)
  assert.closeTo(found!.low, quantile(draws, 0.025), 1e-9)
  assert.closeTo(found!.high, quantile(draws, 0.975), 1e-9)
}

describe("accuracy under parallelism of rows", () => {
  const rows = [
    rowOf("base", run(0.6, 1), run(0.6, 2)),
    rowOf("better", run(0.8, 3), run(0.85, 4)),
    { ...rowOf("near", run(0.8, 5), run(0.8, 6)), against: "better" }
  ]
  const found = parallelismOf(rows, teacher, row => besideOf(row, rows, rows[0]!), resampler)
  const tasks = ["add", "sort"]
  const answersTo = (task: string) => [
    ...rows.map(({ runs }) =>
      runs.map(each => each.tasks.find(({ content }) => content.task === task)!.content.answers)
    ),
    [teacher.find(({ content }) => content.task === task)!.content.answers]
  ]
  const everything = Array.from({ length: 30 }, (_, i) => i)
  const observed = tasks.map(task =>
    plainAups(answersTo(task), everything, n => Array.from({ length: n }, (_, r) => r))
  )
  /** [task][resample][row]. */
  const drawn = tasks.map(task => {
    const { documents, runs } = resampler({ documents: 30, runs: 2, of: task })
    return Array.from({ length: resamples }, (_, b) =>
      plainAups(answersTo(task), [...documents.subarray(30 * b, 30 * (b + 1))], n =>
        n === 1 ? [0] : [...runs.subarray(2 * b, 2 * (b + 1))]
      )
    )
  })
  const meanOver = <A>(all: ReadonlyArray<A>, of: (each: A) => number) =>
    all.reduce((sum, each) => sum + of(each), 0) / all.length

  it("is AUP and its percentile interval over the same problems in all rows, by task and over tasks", () => {
    assert.deepStrictEqual(found.tasks, tasks)
    assert.deepStrictEqual(
      found.rows.map(({ row }) => row?.name),
      ["base", "better", "near", undefined]
    )
    for (const [i, row] of found.rows.entries()) {
      for (const t of tasks.keys())
        assertIs(
          row.tasks[t]!.aup,
          observed[t]![i]!,
          drawn[t]!.map(each => each[i]!)
        )
      assertIs(
        row.aup,
        meanOver(observed, each => each[i]!),
        Array.from({ length: resamples }, (_, b) => meanOver(drawn, each => each[b]![i]!))
      )
    }
    // The teacher gives a token a pass, about: its area is its accuracy times that.
    const { aup: own, points } = found.rows[3]!.tasks[0]!
    assert.closeTo(own.value, 100 * points[0]!.share.value * points[0]!.rate.value, 1e-9)
  })

  it("has paired differences from the row beside, corrected over rows, and over rows and tasks", () => {
    assert.deepStrictEqual(
      found.differences.map(({ beside, row }) => [row.name, beside.name]),
      [
        ["better", "base"],
        ["near", "better"]
      ]
    )
    for (const [d, [own, other]] of [
      [1, 0],
      [2, 1]
    ].entries()) {
      const { aup: all, tasks: each } = found.differences[d]!
      for (const t of tasks.keys())
        assertIs(
          each[t],
          observed[t]![own!]! - observed[t]![other!]!,
          drawn[t]!.map(values => values[own!]! - values[other!]!)
        )
      assertIs(
        all,
        meanOver(observed, values => values[own!]! - values[other!]!),
        Array.from({ length: resamples }, (_, b) => meanOver(drawn, values => values[b]![own!]! - values[b]![other!]!))
      )
    }
    const ps = found.differences.map(({ aup: all }) => all!.p).toSorted((a, b) => a - b)
    const least = found.differences.find(({ aup: all }) => all!.p === ps[0])!.aup!
    assert.strictEqual(least.adjusted, Math.min(1, 2 * least.p))
    const byTask = found.differences.flatMap(each => each.tasks.map(own => own!))
    const surest = byTask.toSorted((a, b) => a.p - b.p)[0]!
    assert.strictEqual(surest.adjusted, Math.min(1, 4 * surest.p))
  })

  it("has right answers and tokens per forward pass over tasks, at equal tokens a step and at thresholds", () => {
    assert.deepStrictEqual(
      found.shares.map(({ of }) => of),
      [{ tokensPerStep: 1 }, { tokensPerStep: 2 }, { threshold: 0.9 }]
    )
    for (const [i, { runs }] of rows.entries())
      for (const s of found.shares.keys()) {
        const own = tasks.map(task =>
          runs.map(each => each.tasks.find(({ content }) => content.task === task)!.content.answers[s]!)
        )
        const right = meanOver(own, all =>
          meanOver(
            all.flatMap(({ responses }) => responses),
            ({ outcome }) => Number(outcome === "right")
          )
        )
        const rate = meanOver(own, all => {
          const responses = all.flatMap(each => each.responses)
          return (
            responses.reduce((sum, { tokens }) => sum + tokens, 0) /
            responses.reduce((sum, { forwards }) => sum + forwards, 0)
          )
        })
        const { rate: ofRate, right: ofRight } = found.rows[i]!.shares[s]!
        assert.closeTo(ofRight.value, right, 1e-12)
        assert.closeTo(ofRate.value, rate, 1e-12)
        assert.isTrue(ofRight.low < right && right < ofRight.high && ofRate.low < rate && rate < ofRate.high)
      }
    // The teacher was asked token by token alone.
    assert.deepStrictEqual(
      found.rows[3]!.shares.map(share => share !== undefined),
      [true, false, false]
    )
  })

  it("leaves out what was not asked, and who was asked other problems", () => {
    const [add] = run(0.7, 8)
    const fewer = add!.answers.map(each => ({ ...each, responses: each.responses.slice(1) }))
    const partial = [
      rowOf("base", run(0.6, 1)),
      rowOf("one task", [add!]),
      rowOf("other problems", [{ ...add!, answers: fewer as never }, run(0.7, 9)[1]!]),
      rowOf("none", [])
    ]
    const { differences, rows: own } = parallelismOf(partial, [], row => besideOf(row, partial, partial[0]!), resampler)
    const known = own.map(({ aup: all, shares, tasks: each }) => [
      ...each.map(task => task !== undefined),
      all !== undefined,
      shares[0] !== undefined
    ])
    assert.deepStrictEqual(known, [
      [true, true, true, true],
      [true, false, false, false],
      [false, true, false, false],
      [false, false, false, false]
    ])
    assert.deepStrictEqual(
      differences.map(({ aup: all, tasks: each }) => [all !== undefined, ...each.map(task => task !== undefined)]),
      [
        [false, true, false],
        [false, false, true],
        [false, false, false]
      ]
    )
  })

  it("finds for tokens a step the nearest number of steps of each task, less than half a doubling away", () => {
    const of = (task: string, answerTokens: number, ...steps: ReadonlyArray<number>) =>
      result(
        task,
        Arr.map(steps as Arr.NonEmptyReadonlyArray<number>, each =>
          answers({ steps: each }, { right: 0.5, forwards: each, problems: 2, seed: 1 })
        ),
        answerTokens
      )
    const shares = sharesOf([rowOf("a", [of("short", 8, 16, 8, 2, 1), of("long", 28, 28, 26, 14, 4)])])
    assert.deepStrictEqual(
      shares.map(share => [share.of, Object.fromEntries(share.points)]),
      [
        [{ tokensPerStep: 1 }, { short: { steps: 16 }, long: { steps: 28 } }],
        [{ tokensPerStep: 2 }, { long: { steps: 14 } }],
        [{ tokensPerStep: 4 }, { short: { steps: 2 } }],
        [{ tokensPerStep: 8 }, { short: { steps: 1 }, long: { steps: 4 } }]
      ]
    )
  })
})
