/** Runs many simulated histories as tests. A failing one is told by its seed; `PIPELINE_SIM_SEED=seed` replays it with a trace. */
import { assert, it } from "vitest"
import { simulate } from "./simulation.ts"

/** Histories per test, so that progress is seen. */
const batch = 100

/** `PIPELINE_SIM_SEEDS=start:count` in the place of the default range. */
export const testSeeds = (start: number, count: number): void => {
  const replay = process.env["PIPELINE_SIM_SEED"]
  if (replay !== undefined) {
    it(`seed ${replay}`, () => {
      const outcome = simulate({ seed: Number(replay), trace: true })
      process.stdout.write(`${outcome.trace.join("\n")}\n`)
      assert.deepStrictEqual(outcome.violations, [])
    })
    return
  }
  for (let from = start; from < start + count; from += batch) {
    const to = Math.min(from + batch, start + count)
    it(`seeds ${from} to ${to - 1}`, { timeout: 600_000 }, () => {
      for (let seed = from; seed < to; seed++) {
        const { violations } = simulate({ seed })
        if (violations.length === 0) continue
        const { trace } = simulate({ seed, trace: true })
        assert.fail(
          `${violations.join("\n")}\nreplay: PIPELINE_SIM_SEED=${seed} npx vitest run test/runner/simulation.test.ts\n${trace.slice(-80).join("\n")}`
        )
      }
    })
  }
}
