/** An engine that cannot start is found out before anything is computed. */
import { assert, describe, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

describe("--engine torch without PyTorch", () => {
  const ask = (verb: string, ...words: ReadonlyArray<string>) => {
    const folder = temporaryDirectory()
    try {
      const wanted = ["compare-50x", "--quick", "--engine", "torch", ...words]
      const answer = pipeline(folder.path, [verb, ...wanted], { PIPELINE_TORCH_PYTHON: "/nowhere/python" })
      return { ...answer, runs: pipeline(folder.path, ["runs"]).stdout }
    } finally {
      folder.remove()
    }
  }

  it("ends a run that computes with it before it begins, and says what to do", { timeout: 120_000 }, () => {
    const { code, runs, stderr, stdout } = ask("run", "--only", "train/no_align")
    assert.deepStrictEqual([code, stdout], [2, ""])
    assert.match(stderr, /--engine torch: there is no PyTorch here: \/nowhere\/python has none\n.*--python/)
    assert.notInclude(runs, "compare-50x")
  })

  it("is a remark of a plan", { timeout: 120_000 }, () => {
    const { code, stdout } = ask("plan")
    assert.strictEqual(code, 0)
    assert.match(stdout, /! --engine torch: there is no PyTorch here/)
  })

  it("does not matter where nothing computes with it", { timeout: 120_000 }, () => {
    assert.strictEqual(ask("run", "--only", "tokenize/corpus").code, 0)
  })
})
