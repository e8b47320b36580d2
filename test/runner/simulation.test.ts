/** The runner under everything that can go wrong at once: first half of the histories, and the proof that they are worth something. */
import { assert, describe, it } from "vitest"
import { simulate } from "./simulation.ts"
import { testSeeds } from "./simulationSeeds.ts"
import { plants } from "./simulationPlants.ts"

describe("whatever crashes, freezes, fails or rots: one execution per living lease, nothing half, every run ends and says why", () => {
  const [start, count] = (process.env["PIPELINE_SIM_SEEDS"] ?? "1:1000").split(":").map(Number)
  testSeeds(start!, count!)
})

describe.skipIf(process.env["PIPELINE_SIM_SEED"] !== undefined)("the simulation itself", () => {
  it("replays a seed event by event", () => {
    for (const seed of [7, 11, 42])
      assert.deepStrictEqual(simulate({ seed, trace: true }), simulate({ seed, trace: true }))
  })

  it("meets what it is there for", () => {
    const outcomes = Array.from({ length: 40 }, (_, seed) => simulate({ seed }))
    const sum = (of: (outcome: (typeof outcomes)[number]) => number) =>
      outcomes.reduce((total, outcome) => total + of(outcome), 0)
    assert.isAbove(
      sum(outcome => outcome.crashes),
      10
    )
    assert.isAbove(
      sum(outcome => outcome.interruptions),
      3
    )
    assert.isAbove(
      sum(outcome => outcome.failures),
      10
    )
    assert.isAbove(
      sum(outcome => outcome.executions),
      300
    )
    assert.isAbove(
      sum(outcome => outcome.dropped),
      3
    )
    assert.isAbove(
      sum(outcome => outcome.defects),
      10
    )
  })

  for (const { finding, name, plant } of plants) {
    it(`finds a planted defect: ${name}`, { timeout: 120_000 }, () => {
      for (let seed = 1; seed <= 300; seed++) {
        if (simulate({ seed, plant }).violations.some(violation => finding.test(violation))) return
      }
      assert.fail(`none of 300 histories noticed it`)
    })
  }
})
