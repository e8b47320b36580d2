/** How the command line chooses engine, precision and interpreter. */
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { MaintenanceFolder } from "../support/maintenanceFolder.ts"
import { program } from "../support/program.ts"

let house: MaintenanceFolder
beforeEach(() => {
  house = new MaintenanceFolder()
})
afterEach(() => house.remove())

const generate = (...flags: ReadonlyArray<string>) =>
  program(["generate", "-n", "1", ...flags, "The people"], { cwd: house.path })

describe("--precision", () => {
  it("that the engine does not have is wrong usage, and says which it has", async () => {
    const { code, stderr } = await generate("--precision", "bf16")
    assert.strictEqual(code, 2)
    assert.match(stderr, /--precision: ort does not compute in bf16, only in f32/)
    assert.match(stderr, /--engine torch does/)
  })
})

describe("--python", () => {
  it("is the interpreter that the engine torch starts", async () => {
    const { code, stderr } = await generate("--engine", "torch", "--precision", "bf16", "--python", "/nowhere/python")
    assert.notStrictEqual(code, 0)
    assert.match(stderr, /\/nowhere\/python cannot be started: .*Name an interpreter that has it with --python/)
  })

  it("is the one that doctor looks at", async () => {
    const { stdout } = await program(["doctor", "--json", "--python", "/nowhere/python"], {
      cwd: house.path,
      environment: { HF_ENDPOINT: "http://127.0.0.1:1", HF_HOME: "/nonexistent" }
    })
    const { findings } = JSON.parse(stdout) as {
      readonly findings: ReadonlyArray<{ readonly name: string; readonly text: string }>
    }
    const found = findings.find(({ name }) => name === "engine torch")!
    assert.match(found.text, /^not available: \/nowhere\/python cannot be started/)
  })
})
