import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, it } from "vitest"
import { checkoutOf } from "../../bench/decoders/fastDllm.ts"

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "fast-dllm-test-"))
})
afterAll(() => rmSync(directory, { recursive: true }))

const git = (...flags: ReadonlyArray<string>) => {
  const identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
  expect(spawnSync("git", ["-C", directory, ...identity, ...flags]).status).toBe(0)
}

it("a directory that is not the checkout is refused: with why, and with what makes it", () => {
  const makes =
    /git clone https:\/\/github\.com\/NVlabs\/Fast-dLLM DIRECTORY && git -C DIRECTORY checkout [0-9a-f]{40}$/
  const refused = (why: string) => {
    expect(() => checkoutOf(directory)).toThrow(why)
    expect(() => checkoutOf(directory)).toThrow(makes)
    expect(() => checkoutOf(directory)).toThrow(directory)
  }
  refused("there is no llada/generate.py in it")
  mkdirSync(join(directory, "llada/model"), { recursive: true })
  for (const file of ["generate.py", "model/modeling_llada.py", "model/configuration_llada.py"])
    writeFileSync(join(directory, "llada", file), "")
  refused("git does not know its commit")
  git("init", "-q")
  git("add", ".")
  git("commit", "-q", "-m", "another one")
  refused("it is at commit ")
})
