/** What earlier executions say of later ones. */
import { assert, describe, it } from "vitest"
import { history } from "../../src/ledger/History.ts"
import { LedgerScript } from "../support/ledgerScript.ts"

describe("estimates", () => {
  it("of a first look are from first looks, of a whole run from whole runs", () => {
    const script = new LedgerScript()
    const train = (command: string, ms: number) =>
      script.run({ command, executes: [{ label: "train/a", parameters: { ms }, ms }] })
    train("pipeline run demo", 60_000)
    const plan = { pipeline: "demo", profile: "small" }
    const quick = () => history(script.database, { ...plan, quick: true })("train/a", "train")?.ms
    const whole = () => history(script.database, plan)("train/a", "train")?.ms
    assert.isUndefined(quick())
    train("pipeline run demo --quick --seeds 2", 5000)
    assert.closeTo(quick()!, 5000, 1000)
    assert.closeTo(whole()!, 60_000, 1000)
  })
})

describe("an action that gave other bytes than before", () => {
  const twice = (timed: boolean) => {
    const script = new LedgerScript()
    const [first, second] = ["1.2 s", "1.3 s"].map(
      out => script.run({ executes: [{ label: "time", outputs: { out }, timed }] }).done[0]!
    )
    assert.notDeepEqual(first!.outputs, second!.outputs)
    return script.database.all("SELECT port FROM divergence").length
  }

  it("is not reproducible", () => assert.strictEqual(twice(false), 1))

  it("is not said to be, where the bytes hold times", () => assert.strictEqual(twice(true), 0))
})
