/** bench/gpu from its command to its files, on the processor with tiny sizes. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, it } from "vitest"
import { pythonVariable } from "../../src/engines/torch/python.ts"
import type { Report } from "../../bench/gpu/summary.ts"
import { interpreterVariable } from "./python.ts"

const measured = (report: Report) =>
  report.contenders.map(({ measured: found }) => {
    if ("error" in found) throw new Error(found.error)
    return found
  })

/** What a tiny run writes and says. */
const tinyRun = (name: string, flags: ReadonlyArray<string>) => {
  const output = mkdtempSync(join(tmpdir(), "interop-gpu-"))
  try {
    const run = spawnSync(
      process.execPath,
      [join(import.meta.dirname, "../../bench/gpu/run.ts"), "--tiny", "--rounds", "1", "--output", output, ...flags],
      { encoding: "utf8", env: { ...process.env, [pythonVariable]: process.env[interpreterVariable]! } }
    )
    expect(run.stderr).not.toMatch(/rror/)
    expect(run.status).toBe(0)
    const report = JSON.parse(readFileSync(join(output, `${name}.json`), "utf8")) as Report
    expect(report.dry).toBe(true)
    expect(readFileSync(join(output, `${name}.md`), "utf8")).toMatch(/^# A dry run/)
    return { report, text: run.stdout }
  } finally {
    rmSync(output, { recursive: true })
  }
}

it("measures everything, and both contenders decode the same tokens", { timeout: 600_000 }, () => {
  const { report, text } = tinyRun("gpu", [])
  const { contenders, peaks } = report
  expect(peaks.bandwidth).toBeGreaterThan(0)
  expect(peaks.matmul.f32).toBeGreaterThan(0)
  expect(contenders.map(({ name }) => name)).toEqual(["pipeline, eager", "transformers, eager"])
  const both = measured(report)
  for (const { errors, milliseconds } of both) {
    expect(errors).toEqual({})
    for (const work of ["forward", "decode/2", "decode/4", "training"]) expect(milliseconds[work]).toHaveLength(1)
  }
  expect(both[0]!.tokens).toEqual(both[1]!.tokens)
  expect(both[0]!.tokens["decode/4"]).toHaveLength(12)
  expect(text).toMatch(/\| training \| transformers, eager \|/)
})

it(
  "measures a model in NF4, an adapter's steps and alignment; of the peer each work, or its error",
  {
    timeout: 600_000
  },
  () => {
    const { report, text } = tinyRun("gpu-nf4", ["--nf4"])
    expect(report.contenders.map(({ name }) => name)).toEqual([
      "pipeline, eager",
      "transformers and bitsandbytes, eager"
    ])
    const [ours, peer] = measured(report)
    const shared = ["forward", "decode/4", "training/16", "training/32"]
    expect(ours!.errors).toEqual({})
    expect(Object.keys(ours!.milliseconds)).toEqual([...shared, "aligned/2", "aligned/4"])
    expect(ours!.tokens["decode/4"]).toHaveLength(12)
    expect(Object.keys({ ...peer!.milliseconds, ...peer!.errors }).toSorted()).toEqual(shared.toSorted())
    for (const work of Object.keys(peer!.errors)) expect(text).toContain(`eager, ${work}: `)
    expect(text).toMatch(/\n\| 4 \| pipeline, eager \|/)
  }
)
