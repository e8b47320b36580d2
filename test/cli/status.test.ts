import { assert, describe, it } from "vitest"
import { statusOf } from "../../src/cli/verbs/status.ts"
import { acquire } from "../../src/ledger/Leases.ts"
import { beginExecution } from "../../src/ledger/Runs.ts"
import { ConfigError } from "../../src/pipeline/ConfigError.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

const owner = { id: "owner", host: "elsewhere", boot: "boot", pid: 1 }

describe("status", () => {
  it("counts what is there, and shows the last run of each pipeline, newest first", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ label: "a" }] })
    script.run({ pipeline: "other", executes: [{ label: "b" }] })
    script.run({ executes: [{ label: "c" }] })
    const status = statusOf(script.database, undefined, script.now)
    assert.deepInclude(status, { runs: 3, actions: 3, artifacts: 3 })
    assert.deepStrictEqual(
      status.last.map(({ id, pipeline }) => `${id} ${pipeline}`),
      ["3 demo", "2 other"]
    )
    assert.deepStrictEqual(
      statusOf(script.database, "other", script.now).last.map(({ id }) => id),
      [2]
    )
  })

  it("of a run under way shows its actions with the leases that live", () => {
    const script = new LedgerScript()
    const { done, run } = script.run({ executes: [{ label: "a" }], status: "running" })
    for (const label of ["a", "b"])
      beginExecution(script.database, {
        action: done[0]!.action,
        run,
        label,
        attempt: 2,
        now: script.now,
        log: "logs/x"
      })
    acquire(script.database, done[0]!.key, owner, { now: script.now, duration: 15_000, alive: () => true })
    const now = statusOf(script.database, undefined, script.now)
    assert.deepStrictEqual(
      now.running.map(({ id }) => id),
      [run]
    )
    assert.deepStrictEqual(
      now.working.map(({ attempt, label }) => `${label} ${attempt}`),
      ["a 2", "b 2"]
    )
    assert.deepInclude(now.working[0]!.lease, { host: "elsewhere", pid: 1 })
    const later = statusOf(script.database, undefined, script.now + 20_000)
    assert.isUndefined(later.working[0]!.lease)
  })

  it("shows how the last run failed: what failed at last, not what was retried", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ label: "a", fails: "old" }], status: "failed" })
    const { run } = script.run({
      executes: [{ label: "b", fails: "new" }, { label: "c", fails: "once" }, { label: "c" }],
      status: "failed"
    })
    const { failures } = statusOf(script.database, undefined, script.now)
    assert.strictEqual(failures?.run, run)
    assert.deepStrictEqual(
      failures?.of.map(({ label, message }) => `${label} ${message}`),
      ["b new"]
    )
    assert.match(failures!.of[0]!.log, /^logs\/2\/b/)
  })

  it("has no failures once a run went well", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ label: "a", fails: "old" }], status: "failed" })
    script.run({ executes: [{ label: "a" }] })
    assert.deepStrictEqual(statusOf(script.database, undefined, script.now).failures?.of, [])
  })

  it("of a pipeline that was never run is an error that names those that were", () => {
    const script = new LedgerScript()
    script.run({ executes: [{ label: "a" }] })
    try {
      statusOf(script.database, "dema", script.now)
      assert.fail("it did not fail")
    } catch (error) {
      assert.instanceOf(error, ConfigError)
      assert.include((error as ConfigError).advice ?? "", "demo")
    }
  })
})
