import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"

interface PinJson {
  readonly digest: string
  readonly kind: string
  readonly note: string
  readonly present: boolean
}

let house: MaintenanceFolder
beforeAll(async () => {
  house = new MaintenanceFolder()
  await house.run()
})
afterAll(() => house.remove())

const pins = () => house.json<ReadonlyArray<PinJson>>("pin", "--list")

describe("pipeline pin", () => {
  it("pins an artifact, a run's targets or an action's outputs, with a note, and lets them go", async () => {
    assert.match(await house.text("pin", "--list"), /nothing is pinned/)
    await house.text("pin", "1", "--note", "the paper's")
    await house.text("pin", "house/bag")
    const both = await pins()
    assert.deepStrictEqual(
      both.map(({ kind, note }) => [kind, note]),
      [
        ["text", "the paper's"],
        ["bag", ""]
      ]
    )
    assert.match(await house.text("pin", "--list"), /text .* the paper's\n[0-9a-f]{12} {2}bag/)
    await house.text("pin", both[1]!.digest.slice(0, 10), "--note", "now with a reason")
    assert.deepStrictEqual(
      (await pins()).map(({ note }) => note),
      ["the paper's", "now with a reason"]
    )
    for (const { digest } of both) await house.text("pin", "--remove", digest)
    assert.deepStrictEqual(await pins(), [])
  })

  it("says so when the bytes of what is pinned are not there", async () => {
    const { artifacts } = await house.json<{ artifacts: ReadonlyArray<{ digest: string; label: string }> }>(
      "gc",
      "--final-only",
      "--apply"
    )
    const bag = artifacts.find(({ label }) => label === "bag")!.digest
    const { stderr, stdout } = await house.call("pin", bag)
    assert.match(stdout, /^pinned [0-9a-f]{12} \(bag\)/)
    assert.match(stderr, /not in the store/)
    assert.isFalse((await pins())[0]!.present)
    await house.text("pin", "--remove", bag)
  })

  it("refuses what it cannot resolve or understand, with the exit code of wrong usage", async () => {
    const before = await pins()
    for (const args of [["0123456789abcdef"], ["--remove", "1"], ["99"], [], ["1", "--list"], ["1", "--remove", "1"]])
      assert.strictEqual((await house.call("pin", ...args)).code, 2, args.join(" "))
    assert.deepStrictEqual(await pins(), before)
  })
})
