/** `pipeline generate --stop`, and what is said of passes at the end. */
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { type Passes, statisticsLine } from "../../src/cli/verbs/generate/statistics.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterAll(() => directory.remove())

const call = (...words: ReadonlyArray<string>) => pipeline(directory.path, ["generate", ...words])

describe("pipeline generate", () => {
  it("ends texts at stop strings, without passes for what is behind them", () => {
    interface Stopped {
      readonly forwards?: number
      readonly texts: ReadonlyArray<{ readonly text: string; readonly tokens: Array<number>; readonly stopped: string }>
    }
    const asked = ["-m", "tiny", "-n", "24", "-t", "0", "the people"]
    for (const words of [
      ["--mode", "ar"],
      ["--mode", "diffusion", "--block-length", "4"]
    ]) {
      const of = (...more: ReadonlyArray<string>) => {
        const { code, stderr, stdout } = call("--json", ...words, ...more, ...asked)
        assert.strictEqual(code, 0, stderr)
        return JSON.parse(stdout) as Stopped
      }
      const whole = of()
      const { text } = whole.texts[0]!
      const stop = text.slice(9, 12)
      const found = of("--stop", "never written", "--stop", stop)
      assert.strictEqual(found.texts[0]!.text, text.slice(0, text.indexOf(stop)))
      assert.strictEqual(found.texts[0]!.stopped, "stop string")
      assert.isBelow(found.texts[0]!.tokens.length, whole.texts[0]!.tokens.length)
      if (whole.forwards !== undefined) assert.isBelow(found.forwards!, whole.forwards)
      const { stderr, stdout } = call(...words, "--stop", stop, ...asked)
      assert.strictEqual(stdout, `${found.texts[0]!.text}\n`)
      assert.include(stderr, "(stop string)")
    }
    for (const stop of ["", "a\uFFFD"]) {
      const { code, stderr } = call("-m", "nowhere", "--stop", stop, "The")
      assert.strictEqual(code, 2, stderr)
      assert.match(stderr, /--stop "/)
    }
  })

  it("says which passes come before the first step, and how many steps a piece takes", () => {
    const line = (passes: Passes) =>
      statisticsLine({ name: "m", texts: 1, tokens: 32, stopped: "length", seconds: 2, seed: 0, passes })
    assert.include(line({ forwards: 6, ofTexts: 6, steps: 8, ahead: 0 }), "6 forward passes, at most 8 steps, 5.3")
    // Cola draws latents first.
    assert.include(
      line({ forwards: 25, ofTexts: 25, steps: 8, ahead: 17 }),
      "25 forward passes, 17 of them before the first step, then at most 8 steps, 1.3 tokens a pass"
    )
    // LDLM draws pieces of a text.
    assert.include(line({ forwards: 16, ofTexts: 16, steps: 8, ahead: 0 }), "16 forward passes, 8 steps a piece, 2.0")
    assert.notInclude(line({ forwards: 16, ofTexts: 16 }), "step")
  })
})
