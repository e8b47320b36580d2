import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import { Completions } from "effect/cli"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { scriptFor } from "../../src/cli/verbs/completions.ts"
import { commandFor, verbNames } from "../../src/cli/verbs.ts"
import { program } from "../support/program.ts"

let folder: string
let script: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pipeline-completions-"))
  const root = await Effect.runPromise(commandFor([]))
  script = join(folder, "completions.bash")
  writeFileSync(script, scriptFor("bash", Completions.fromCommand(root), ["compare-demo", "d3-demo"]))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What bash offers for the last of these words, without reading anybody's start-up files. */
const offers = (...words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const ask = `
    source "$1"; shift
    COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=\${#COMP_LINE}
    f=$(complete -p pipeline | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    "$f" pipeline "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD-1]}"
    printf '%s\\n' "\${COMPREPLY[@]}"`
  const text = execFileSync("bash", ["--norc", "--noprofile", "-c", ask, "bash", script, ...words], {
    encoding: "utf8",
    cwd: folder
  })
  return text.split("\n").filter(line => line !== "")
}

const has = (shell: string) => spawnSync(shell, ["--version"]).status === 0

describe("pipeline completions", () => {
  it("prints a script that bash accepts", async () => {
    const ended = await program(["completions", "bash"], { cwd: folder })
    assert.strictEqual(ended.code, 0, ended.stderr)
    execFileSync("bash", ["-n"], { input: ended.stdout })
    for (const verb of verbNames) assert.include(ended.stdout, verb)
  })

  it("completes verbs, flags, and the verbs of `cache`", () => {
    assert.deepStrictEqual([...offers("pipeline", "r")].sort(), verbNames.filter(verb => verb.startsWith("r")).sort())
    assert.include(offers("pipeline", "r"), "run")
    assert.deepStrictEqual(offers("pipeline", "gc", "--keep"), ["--keep-runs"])
    assert.deepStrictEqual(offers("pipeline", "cache", "us"), ["usage"])
    assert.deepStrictEqual(offers("pipeline", "completions", "f"), ["fish"])
    assert.deepStrictEqual(offers("pipeline", "run", "--family", ""), ["dense", "hybrid"])
  })

  it("completes names of pipelines where one is expected", () => {
    assert.deepStrictEqual(offers("pipeline", "run", "comp"), ["compare-demo"])
    assert.sameMembers([...offers("pipeline", "plan", "")], ["compare-demo", "d3-demo"])
    assert.deepStrictEqual(offers("pipeline", "run", "--jobs", "2", "d3"), ["d3-demo"])
  })

  it.skipIf(!has("zsh"))("prints a script that zsh accepts", async () => {
    const ended = await program(["completions", "zsh"], { cwd: folder })
    execFileSync("zsh", ["-n"], { input: ended.stdout })
  })

  it("prints scripts for zsh and fish that name every verb, and refuses other shells", async () => {
    for (const shell of ["zsh", "fish"]) {
      const ended = await program(["completions", shell], { cwd: folder })
      for (const verb of verbNames) assert.include(ended.stdout, verb)
    }
    const { code, stderr } = await program(["completions", "tcsh"], { cwd: folder })
    assert.strictEqual(code, 2, stderr)
  })
})
