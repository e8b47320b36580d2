import { assert, describe, it } from "vitest"
import { showRun } from "../../src/cli/text/showText.ts"
import { leaderboard, listRuns, renderLeaderboard, renderRuns, tallyOf } from "../../src/cli/verbs/runs.ts"
import { styleOf } from "../../src/cli/terminal/style.ts"
import { runDetails } from "../../src/ledger/Details.ts"
import { statusOf } from "../../src/ledger/RunRows.ts"
import { newOwner } from "../../src/runner/Machine.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

process.env["NO_COLOR"] = "1"

describe("runs", () => {
  const script = new LedgerScript()
  const { done } = script.run({ executes: [{ label: "a", ms: 60_000 }] })
  script.run({ pipeline: "other", executes: [{ label: "a", parameters: { n: 1 }, fails: "no" }], status: "failed" })
  script.run({ reuses: done })

  it("are listed newest first, up to a limit, of one pipeline where asked", () => {
    const ids = (pipeline: string | undefined, limit: number) =>
      listRuns(script.database, pipeline, limit).map(({ id }) => id)
    assert.deepStrictEqual(ids(undefined, 10), [3, 2, 1])
    assert.deepStrictEqual(ids(undefined, 2), [3, 2])
    assert.deepStrictEqual(ids("demo", 10), [3, 1])
    assert.deepStrictEqual(ids("nothing", 10), [])
  })

  it("are printed as a table with one line each", () => {
    const lines = renderRuns(listRuns(script.database, undefined, 10), script.now, styleOf(process.stdout)).split("\n")
    assert.strictEqual(lines.length, 4)
    assert.match(lines[0]!, /^run +pipeline +profile +status +started +took +executed +reused +failed +saved$/)
    assert.match(lines[2]!, /2 +other +small +failed/)
    assert.match(lines[3]!, /1 min/)
  })
})

describe("runs with names", () => {
  it("are listed with them and with what was said of them", () => {
    const script = new LedgerScript()
    script.run({ tag: "faster", note: "twice the rate" })
    const [heading, line] = renderRuns(
      listRuns(script.database, undefined, 10),
      script.now,
      styleOf(process.stdout)
    ).split("\n")
    assert.match(heading!, /saved +tag +note$/)
    assert.match(line!, /faster +twice the rate$/)
  })
})

describe("the leaderboard", () => {
  const script = new LedgerScript()
  const first = script.run({
    tag: "base",
    executes: [
      { label: "train/a", metrics: [3, 2].map((value, i) => ({ name: "eval/loss", step: i + 1, value })) },
      {
        label: "train/b",
        parameters: { lr: 1 },
        metrics: [
          { name: "eval/loss", value: 1 },
          { name: "eval/accuracy", value: 0.5 }
        ]
      },
      { label: "other", metrics: [{ name: "rows", value: 7 }] }
    ]
  })
  // Reused in the second run: an action has one place, that of the newest run.
  const second = script.run({
    reuses: [first.done[1]!],
    executes: [{ label: "train/a", parameters: { lr: 2 }, metrics: [{ name: "eval/loss", value: 1.5 }] }]
  })
  const rows = listRuns(script.database, undefined, 10)
  const order = (glob: string, descending = false) =>
    leaderboard(script.database, rows, glob, descending).map(({ label, run }) => `${run} ${label}`)

  it("has every action once, in the newest run that has it, lowest first; by its last point where it has no final value", () => {
    const [b, a, old] = [`${second.run} train/b`, `${second.run} train/a`, `${first.run} train/a`]
    assert.deepStrictEqual(order("eval/loss"), [b, a, old])
    assert.deepStrictEqual(order("eval/loss", true), [old, a, b])
  })

  it("puts what has not got the first metric last, whichever way it is ordered", () => {
    for (const descending of [false, true]) assert.strictEqual(order("*", descending).at(-1), `${first.run} other`)
  })

  it("is a table with the tags of runs; what matches nothing is said", () => {
    const lines = renderLeaderboard(
      leaderboard(script.database, rows, "eval/*", false),
      "eval/*",
      styleOf(process.stdout)
    )
    assert.match(lines, /^eval\/loss +eval\/accuracy +run +tag +action$/m)
    assert.match(lines, /^ +1 +0.5 +2 +train\/b$/m)
    assert.match(lines, /^ +2 +1 +base +train\/a$/m)
    assert.match(renderLeaderboard([], "nothing*", styleOf(process.stdout)), /no metric matches nothing\*/)
  })
})

describe("the status of a run", () => {
  const here = { id: "me", host: "here", boot: "today", pid: 1 }
  const run = { status: "running", host: "here", boot: "today", pid: 77 } as const

  it("that says it is running is believed while its process lives, and of other machines", () => {
    assert.strictEqual(
      statusOf(run, here, () => true),
      "running"
    )
    assert.strictEqual(
      statusOf({ ...run, host: "elsewhere" }, here, () => false),
      "running"
    )
  })

  it("whose process is gone, or whose machine was started anew, has crashed", () => {
    assert.strictEqual(
      statusOf(run, here, () => false),
      "crashed"
    )
    assert.strictEqual(
      statusOf({ ...run, boot: "yesterday" }, here, () => true),
      "crashed"
    )
  })

  it("that ended is what it ended as", () => {
    assert.strictEqual(
      statusOf({ ...run, status: "done" }, here, () => false),
      "done"
    )
  })

  it("counts what was executed so far, though nobody wrote down how it ended", () => {
    for (const pid of [2 ** 30, process.pid]) {
      const script = new LedgerScript()
      const { boot, host } = newOwner()
      script.run({ executes: [{ label: "b", parameters: { n: 3 } }] })
      script.run({
        status: "running",
        owner: { host, boot, pid },
        executes: [
          { label: "a", parameters: { n: 1 } },
          { label: "b", parameters: { n: 2 }, fails: "once" },
          { label: "b", parameters: { n: 2 } },
          { label: "c", parameters: { n: 4 }, fails: "no" }
        ]
      })
      const [run] = listRuns(script.database, undefined, 1)
      assert.deepInclude(run, { status: pid === process.pid ? "running" : "crashed", executed: 2, failed: 1 })
      const style = styleOf(process.stdout)
      assert.match(renderRuns([run!], script.now, style).split("\n")[1]!, /(running|crashed) .*ago +2 +1$/)
      assert.strictEqual(tallyOf(run!, style), "2 executed, 1 failed")
      assert.include(showRun(runDetails(script.database, run!.id), script.now, style), "2 executed, 1 failed")
    }
  })

  it("in the ledger is not changed by looking", () => {
    const script = new LedgerScript()
    const { boot, host } = newOwner()
    // No process has this number: the kernel's limit is 2^22.
    script.run({ status: "running", owner: { host, boot, pid: 2 ** 30 } })
    assert.strictEqual(listRuns(script.database, undefined, 1)[0]!.status, "crashed")
    assert.strictEqual(script.database.get<{ status: string }>("SELECT status FROM run")!.status, "running")
  })
})
