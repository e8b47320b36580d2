/** The method of `focal.ts`, trained for three steps: `npm test`. */
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"

const cache = mkdtempSync(join(tmpdir(), "focal-"))
after(() => rmSync(cache, { recursive: true, force: true }))

const pipeline = (...words: ReadonlyArray<string>): string =>
  execFileSync("npx", ["pipeline", ...words, "--cache", cache], { cwd: import.meta.dirname, encoding: "utf8" })

/** Losses of the last step, in nats: what is minimised, and the cross-entropy of the same tokens. */
const trainedWith = (gamma: number): { readonly focal: number; readonly crossEntropy: number } => {
  const only = ["--only", "train-focal/focal"]
  pipeline("run", "./pipeline.ts", "--quick", ...only, "--set", `train-focal/focal.gamma=${gamma}`)
  const metrics: ReadonlyArray<{ readonly name: string; readonly value: number }> = JSON.parse(
    pipeline("metrics", "focal/train-focal/focal", "--json")
  )
  const valueOf = (wanted: string) => metrics.find(({ name }) => name === wanted)?.value ?? Number.NaN
  return { focal: valueOf("training/loss"), crossEntropy: valueOf("losses/mdm") }
}

test("without gamma, the focal loss is the cross-entropy", () => {
  const { crossEntropy, focal } = trainedWith(0)
  assert.ok(Math.abs(focal - crossEntropy) < 1e-5, `${focal} beside ${crossEntropy}`)
})

test("with gamma, each token counts for less", () => {
  const { crossEntropy, focal } = trainedWith(2)
  assert.ok(focal < crossEntropy - 1e-3, `${focal} beside ${crossEntropy}`)
})
