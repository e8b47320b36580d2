/** What a machine lacks of a bill: all of it is said, what is unknown keeps nothing from starting. */
import { assert, describe, it } from "vitest"
import type { Bill } from "../../src/pipeline/Bill.ts"
import { check, type Found, lacks } from "../../src/preflight/check.ts"
import { bill, commit, enough } from "../support/preflights.ts"

const verdicts = (of: Bill, found: Partial<Found>) =>
  check(of, { ...enough, ...found }).map(({ name, verdict }) => `${name}: ${verdict}`)
const lacking = (found: Partial<Found>, of = bill) =>
  check(of, { ...enough, ...found }).filter(({ verdict }) => verdict === "lacking")

describe("a preflight", () => {
  it("finds all well where there is as much as is needed", () => {
    const lines = check(bill, enough)
    assert.deepStrictEqual(
      lines.map(({ found, name, needed, verdict }) => [name, found, needed, verdict]),
      [
        ["engine", "torch", "torch", "ok"],
        ["PyTorch", "2.15.0", "a Python that has it", "ok"],
        ["disk", "75.0 GB free at /scratch/cache", "75.0 GB", "ok"],
        ["memory", "64.0 GB, 60.0 GB of it free", "7.00 GB", "ok"],
        ["GPU memory", "48.0 GB on L40S", "31.0 GB", "ok"],
        ["hub token", "none", "not needed", "ok"],
        ["revision", `models/org/name@${commit}`, "a commit", "ok"]
      ]
    )
    assert.isFalse(lacks(lines))
  })

  it("names all that lacks at once, each with what to do", () => {
    const lines = lacking({
      engine: "ort",
      torch: { missing: "python3 has none" },
      disk: { path: "/", free: 1e9 },
      memory: { total: 4e9, free: 1e9 },
      gpus: []
    })
    assert.deepStrictEqual(
      lines.map(({ name }) => name),
      ["engine", "PyTorch", "disk", "memory", "GPU memory"]
    )
    for (const { advice } of lines) assert.isNotEmpty(advice)
    assert.isTrue(lacks(lines))
  })

  it("lets start what could not be found out, and says so", () => {
    const lines = check(bill, { ...enough, torch: undefined, disk: undefined, memory: undefined, gpus: undefined })
    assert.isFalse(lacks(lines))
    const unknown = lines.filter(({ verdict }) => verdict === "unknown")
    assert.deepStrictEqual(
      unknown.map(({ name }) => name),
      ["PyTorch", "disk", "memory", "GPU memory"]
    )
    for (const { advice, found } of unknown) {
      assert.strictEqual(found, "could not be found out")
      assert.isNotEmpty(advice)
    }
  })

  it("does not ask for disk that the cache has filled with the same already, and for no less than nothing", () => {
    const held = (bytes: number) => (label: string) => (label === "download-model" ? bytes : 0)
    const disk = { path: "/", free: 20e9 }
    assert.lengthOf(lacking({ disk }), 1)
    assert.lengthOf(lacking({ disk, held: held(55e9) }), 0)
    assert.lengthOf(lacking({ disk, held: held(54e9) }), 1)
    // An older, larger result counts for the model alone.
    assert.lengthOf(lacking({ disk: { path: "/", free: 19e9 }, held: held(500e9) }), 1)
  })

  it("counts the largest of several GPUs, and one that PyTorch does not see as none", () => {
    const gpus = [
      { name: "small", bytes: 16e9 },
      { name: "large", bytes: 80e9 }
    ]
    assert.lengthOf(lacking({ gpus }), 0)
    assert.match(lacking({ gpus: gpus.slice(0, 1) })[0]!.found, /^16.0 GB on small$/)
    assert.match(lacking({ gpus, torch: { version: "2.15.0+cpu", gpus: [] } })[0]!.found, /PyTorch does not see/)
  })

  it("warns of memory that others hold, and of a revision that may move, with the flags that pin it", () => {
    const source = "hf://models/org/name@main"
    const moving = {
      ...bill,
      sources: ["download-model", "download-tokenizer"].map(label => ({ label, source, gated: false }))
    }
    assert.include(verdicts(moving, { memory: { total: 64e9, free: 1e9 } }), "memory: warning")
    const [line, ...others] = check(moving, enough).filter(({ name }) => name === "revision")
    assert.lengthOf(others, 0)
    assert.strictEqual(line!.verdict, "warning")
    for (const { label } of moving.sources)
      assert.include(line!.advice, `--set ${label}.source=hf://models/org/name@COMMIT`)
  })

  it("needs a token for gated repositories alone", () => {
    const gated = { ...bill, sources: bill.sources.map(source => ({ ...source, gated: true })) }
    assert.include(verdicts(gated, { token: false }), "hub token: lacking")
    assert.include(verdicts(gated, { token: undefined }), "hub token: unknown")
    assert.include(verdicts(gated, { token: true }), "hub token: ok")
    assert.include(verdicts(bill, { token: undefined }), "hub token: ok")
  })

  it("asks for no GPU where nothing is trained", () => {
    assert.notInclude(verdicts({ ...bill, gpuMemory: [] }, { gpus: [] }).join(), "GPU")
  })
})
