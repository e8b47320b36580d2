/** bench/gpu from its command to its files, on the processor with tiny sizes. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, it } from "vitest"
import { pythonVariable } from "../../src/engines/torch/python.ts"
import type { Report } from "../../bench/gpu/summary.ts"
import { interpreterVariable } from "./python.ts"

it("measures everything, and both contenders decode the same tokens", { timeout: 600_000 }, () => {
  const output = mkdtempSync(join(tmpdir(), "interop-gpu-"))
  try {
    const run = spawnSync(
      process.execPath,
      [join(import.meta.dirname, "../../bench/gpu/run.ts"), "--tiny", "--rounds", "1", "--output", output],
      { encoding: "utf8", env: { ...process.env, [pythonVariable]: process.env[interpreterVariable]! } }
    )
    expect(run.stderr).not.toMatch(/rror/)
    expect(run.status).toBe(0)
    const { contenders, dry, peaks } = JSON.parse(readFileSync(join(output, "gpu.json"), "utf8")) as Report
    expect(dry).toBe(true)
    expect(peaks.bandwidth).toBeGreaterThan(0)
    expect(peaks.matmul.f32).toBeGreaterThan(0)
    expect(contenders.map(({ name }) => name)).toEqual(["pipeline, eager", "transformers, eager"])
    const measured = contenders.map(contender => {
      if ("error" in contender.measured) throw new Error(contender.measured.error)
      return contender.measured
    })
    for (const { milliseconds } of measured)
      for (const work of ["forward", "decode/2", "decode/4", "training"]) expect(milliseconds[work]).toHaveLength(1)
    expect(measured[0]!.tokens).toEqual(measured[1]!.tokens)
    expect(measured[0]!.tokens["decode/4"]).toHaveLength(12)
    expect(readFileSync(join(output, "gpu.md"), "utf8")).toMatch(/^# A dry run/)
    expect(run.stdout).toMatch(/\| training \| transformers, eager \|/)
  } finally {
    rmSync(output, { recursive: true })
  }
})
