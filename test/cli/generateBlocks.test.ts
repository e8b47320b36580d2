/** `pipeline generate` with a model that says in which blocks it writes. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { tinyConfig, writeTinyModel } from "../support/tinyModel.ts"

let directory: ReturnType<typeof temporaryDirectory>
beforeAll(() => {
  directory = temporaryDirectory()
})
afterAll(() => directory.remove())

const call = (...words: ReadonlyArray<string>) => pipeline(directory.path, ["generate", ...words])

interface Generated {
  readonly mode: string
  readonly forwards?: number
  readonly texts: ReadonlyArray<{ readonly text: string }>
}

describe("pipeline generate", () => {
  it("decodes in the blocks of a model that was trained by bd3lm, and in no larger ones", async () => {
    const path = join(directory.path, "blocks")
    await writeTinyModel(path, { ...tinyConfig, attentionBlockSize: 2 })
    const file = join(path, "config.json")
    const fields = JSON.parse(readFileSync(file, "utf8")) as object
    const own = { bd3lm: { sampling_eps_min: 0.001, sampling_eps_max: 1 }, token_shift: true }
    writeFileSync(file, JSON.stringify({ ...fields, ...own }))
    // A prompt of eight tokens ends with a block.
    const asked = ["-m", "blocks", "-n", "6", "--steps", "6", "-t", "0", "--json", "The meaning of life is"]
    const of = (...words: ReadonlyArray<string>) => JSON.parse(call(...words, ...asked).stdout) as Generated
    const found = of()
    assert.strictEqual(found.mode, "diffusion")
    assert.deepStrictEqual(found.texts, of("--block-length", "2").texts)
    assert.strictEqual(of("--threshold", "0.0001").forwards, 3)
    const { code, stderr } = call("--block-length", "4", ...asked)
    assert.strictEqual(code, 1)
    assert.match(stderr, /blockLength is 4, but the model was trained to write blocks of 2 tokens/)
    assert.match(call("--alg", "p2", ...asked).stderr, /--alg: p2 does not go block by block/)
  })
})
