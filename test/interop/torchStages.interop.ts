/** Rows of the grid trained by stages on the engine `torch`, as on `ort`. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, it } from "vitest"
import { pythonVariable } from "../../src/engines/torch/python.ts"
import { expectLossesOfOrt } from "../support/gridLosses.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { interpreterVariable } from "./python.ts"

process.env[pythonVariable] = process.env[interpreterVariable]!
process.env["PIPELINE_TORCH_DEVICE"] = "cpu"

let directory: string
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "interop-stages-"))
  await writeTinyModel(join(directory, "tiny"))
})
afterEach(() => rmSync(directory, { recursive: true }))

it("rows come to the losses of ort within 2e-4", { timeout: 600_000 }, () =>
  expectLossesOfOrt(directory, "torch/cpu/f32", 2e-4)
)
