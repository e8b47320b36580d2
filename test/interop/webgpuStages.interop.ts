/** Rows of the grid trained by stages on the engine `webgpu`, as on `ort`. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, it } from "vitest"
import { expectLossesOfOrt } from "../support/gridLosses.ts"
import { writeTinyModel } from "../support/tinyModel.ts"
import { vulkanVariable } from "./vulkan.ts"

let directory: string
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "interop-stages-"))
  await writeTinyModel(join(directory, "tiny"))
})
afterEach(() => rmSync(directory, { recursive: true }))

it.skipIf(process.env[vulkanVariable] === undefined)(
  "rows come to the losses of ort within 1e-5",
  { timeout: 600_000 },
  () => expectLossesOfOrt(directory, "webgpu/gpu/f32", 1e-5)
)
