/** Examples of help and docs that look at results, or are done at once, are run to their end, on one small grid that is trained for all of them. */
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { allCommands, type CommandLine } from "../support/commandLines.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const folder = temporaryDirectory()
afterAll(() => folder.remove())

/** What is not run here, and why: such a line is parsed and planned by examples.test.ts. */
const elsewhere: ReadonlyArray<readonly [lines: RegExp, why: string]> = [
  [/^run /, "hours, or network; runs of all shipped pipelines have tests of their own"],
  [/^(serve|doctor|init)\b/, "a server, a measurement of the machine, a project: test/cli has them"],
  [/ --(apply|empty|restore)\b/, "removes what other lines look at, or wants what was removed: test/cli/gc.test.ts"],
  [/^generate (?!.*compare-50x)/, "texts of the teacher that ships: test/cli/generate.test.ts"],
  [/pretrain-teacher|convert\/|evaluate\/|bd3lm/, "of a pipeline or a row that would have to be trained first"],
  [/Qwen|adapter|--chat|^generate$/, "a model of another's, or a talk"]
]

const isHere = ({ fails, words }: CommandLine): boolean =>
  !fails && !elsewhere.some(([lines]) => lines.test(words.join(" ")))

/** Whether a line plans a pipeline. */
const isPlanned = (words: ReadonlyArray<string>): boolean => words[0] === "plan" || words.includes("--next")

/** Runs that examples name by their numbers. */
const runs = new Map([38, 40, 41].map((named, i) => [String(named), String(i + 1)]))
/** Digits of a key or a digest, which are others everywhere. */
const digits = /^(?=.*[a-f])(?=.*\d)[0-9a-f]{6,12}$/

const grid = [
  "compare-50x",
  "--quick",
  ...["train/no_align", "train/with_align", "train/with_trajectory", "evaluate-likelihood/with_align"].flatMap(
    stage => ["--only", stage]
  )
]

beforeAll(() => {
  const run = (...words: ReadonlyArray<string>) => pipeline(folder.path, ["run", ...grid, ...words], {}, 600_000)
  for (const tag of ["first", "faster", "again"]) {
    const { code, stderr } = run("--tag", tag)
    assert.strictEqual(code, 0, stderr)
  }
}, 600_000)

describe("examples of help and docs", () => {
  it("that need no hours and no network end well", { timeout: 600_000 }, async () => {
    const all = await Effect.runPromise(allCommands)
    const here = all.filter(isHere)
    assert.isAbove(here.length, 70)
    const [model] = JSON.parse(
      pipeline(folder.path, [
        "query",
        "--json",
        "SELECT digest FROM artifact WHERE kind = 'model-files' ORDER BY id DESC LIMIT 1"
      ]).stdout
    ) as ReadonlyArray<{ readonly digest: string }>
    const digest = model!.digest.slice(0, 12)
    const lines = here.map(({ words }) => words.map(word => runs.get(word) ?? (digits.test(word) ? digest : word)))
    // The built program knows the code of its stages; from source it would be read anew for every line.
    const refused = lines.filter(isPlanned).flatMap(words => {
      const { code, stderr } = pipeline(folder.path, words, {}, 120_000)
      return code === 0 ? [] : [`pipeline ${words.join(" ")}\n    ${stderr}`]
    })
    assert.deepStrictEqual(refused, [])
    const [given, wrong] = ["lines.json", "wrong.json"].map(name => join(folder.path, name)) as [string, string]
    writeFileSync(given, JSON.stringify(lines.filter(words => !isPlanned(words))))
    const runner = join(import.meta.dirname, "../support/exampleRunner.ts")
    const { status, stderr } = spawnSync(process.execPath, [runner, given, wrong], {
      cwd: folder.path,
      env: { ...process.env, PIPELINE_CACHE: join(folder.path, "cache"), NO_COLOR: "1" },
      input: "",
      maxBuffer: 1 << 28,
      encoding: "utf8"
    })
    assert.strictEqual(status, 0, stderr)
    assert.deepStrictEqual(JSON.parse(readFileSync(wrong, "utf8")), [])
  })

  it("that are left out have a reason each, and every reason has an example", async () => {
    const all = await Effect.runPromise(allCommands)
    for (const [lines, why] of elsewhere)
      assert.isTrue(
        all.some(({ words }) => lines.test(words.join(" "))),
        why
      )
  })
})
