/** Programs that a model wrote are run only where that was asked for, in this very command; and the example of docs/evaluation.md works as it stands. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { missing } from "../support/sandboxed.ts"

const examples = fileURLToPath(new URL("../../docs/examples/evaluate", import.meta.url))
const flag = "--allow-code-execution"

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
  mkdirSync(join(directory.path, "docs/examples"), { recursive: true })
  cpSync(examples, join(directory.path, "docs/examples/evaluate"), { recursive: true })
})
afterEach(() => directory.remove())

const tasks = (...lines: ReadonlyArray<string>) => {
  const file = "tasks.yaml"
  writeFileSync(join(directory.path, file), `${lines.join("\n")}\n`)
  return file
}
const byHand = [
  "tasks:",
  "  by-hand:",
  "    task: humaneval",
  "    source: file:docs/examples/evaluate/functions.jsonl",
  '    completions: { source: "file:docs/examples/evaluate/completions.jsonl" }'
]
const run = (words: ReadonlyArray<string>, environment: { readonly [name: string]: string } = {}) =>
  pipeline(directory.path, ["run", "evaluate", ...words], environment, 240_000)

describe("code that a model wrote", () => {
  it("is not run without the flag, whatever the shell exports, and nothing else is computed either", () => {
    const config = tasks(...byHand)
    const { code, stderr, stdout } = run(["--config", config], { PIPELINE_ALLOW_CODE_EXECUTION: "1" })
    assert.strictEqual(code, 2)
    assert.match(stderr, /run-programs\/by-hand: would run programs that a model wrote/)
    assert.match(stderr, /say --allow-code-execution/)
    assert.strictEqual(stdout, "")
  })

  it("need not be run for what comes before it", () => {
    const { code, stderr } = run(["--config", tasks(...byHand), "--only", "judge"])
    assert.strictEqual(code, 0, stderr)
  })

  it("is looked up by its problem where a model wrote it, too", () => {
    const { code, stderr } = run([])
    assert.strictEqual(code, 0, stderr)
    const { stdout } = pipeline(directory.path, ["show", "evaluate/sample", "--item", "sort/25", "--json"])
    const [found, ...others] = JSON.parse(stdout) as ReadonlyArray<{ readonly fields: object; readonly text: string }>
    assert.deepStrictEqual(others, [])
    assert.deepInclude(found!.fields, { task_id: "sort/25", sample: 0 })
    assert.isString(found!.text)
  })

  it.skipIf(missing !== undefined)("is run with the flag, and scored", () => {
    const { code, stderr } = run(["--config", tasks(...byHand), flag])
    assert.strictEqual(code, 0, stderr)
    const shown = pipeline(directory.path, ["show", "evaluate/score/by-hand", "--json"])
    assert.match(shown.stdout, /"eval\/pass@1"[^}]*0\.5/)
    // What was written for a problem, and what came of it.
    const item = (...words: ReadonlyArray<string>) =>
      pipeline(directory.path, ["show", "evaluate/score/by-hand", "--item", ...words])
    const found = JSON.parse(item("Functions/1", "--json").stdout) as ReadonlyArray<{
      readonly at: string
      readonly fields: object
    }>
    assert.deepStrictEqual(
      found.map(({ at }) => at),
      // Each completion once: a line of results has all that the sample's line says.
      ["samples.jsonl_results.jsonl:3", "samples.jsonl_results.jsonl:4"]
    )
    assert.deepInclude(found[1]!.fields, { result: "timed out", passed: false })
    assert.match(item("Functions/1").stdout, /completion\n {6}found = numbers\[0\]/)
    const nothing = item("Functions/99")
    assert.strictEqual(nothing.code, 2)
    assert.match(nothing.stderr, /has nothing under the name Functions\/99/)
  })

  it("tells a machine without bubblewrap what to install", () => {
    // A PATH without it: the program itself is started by its absolute path.
    const { code, stderr, stdout } = run(["--config", tasks(...byHand), flag, "--json"], { PATH: "/nonexistent" })
    assert.strictEqual(code, 1)
    assert.match(stderr + stdout, /bubblewrap \(bwrap\) is not there/)
    assert.match(stderr + stdout, /apt-get install bubblewrap/)
  })
})

describe("a configuration of evaluate", () => {
  const refused = (...lines: ReadonlyArray<string>) => {
    const { code, stderr } = pipeline(directory.path, ["plan", "evaluate", "--config", tasks(...lines)])
    assert.strictEqual(code, 2)
    return stderr
  }

  it.each([
    ["an unknown task", ["tasks:", "  humanevl: {}"], /tasks\.humanevl: there is no such task[^]*humaneval/],
    [
      "an unknown protocol",
      ["model: { source: embedded:teacher }", "tasks:", "  sort: { protocol: mine }"],
      /sort has no protocol mine[^]*own/
    ],
    [
      "data that is nowhere",
      ["model: { source: embedded:teacher }", "tasks:", "  gsm8k: {}"],
      /tasks\.gsm8k\.source: where are the problems/
    ],
    ["nobody who answers", ["tasks:", "  sort: {}"], /neither a model that answers nor a file of completions/],
    ["no task", ["tasks: {}"], /no task is named/],
    ["a field that is not known", ["tasks:", "  sort: { sampels: 3 }"], /tasks\.yaml:2:11[^]*sampels/],
    [
      "a parameter that is not known",
      ["model: { source: embedded:teacher }", "tasks:", "  sort:", "    sample: { temprature: 1 }"],
      /tasks\.yaml:4:15[^]*temprature/
    ],
    [
      "steps that are no number",
      ["model: { source: embedded:teacher }", "tasks:", "  sort:", "    sample: { steps: many }"],
      /tasks\.yaml:4:22/
    ]
  ] as const)("is refused with %s", (_, lines, message) => {
    assert.match(refused(...lines), message)
  })

  it("asks one task as --set says it", () => {
    const functions = "download-documents.source=file:docs/examples/evaluate/functions.jsonl"
    const plan = pipeline(directory.path, ["plan", "evaluate", "--set", "questions.task=humaneval", "--set", functions])
    assert.strictEqual(plan.code, 0, plan.stderr)
    assert.match(plan.stdout, /run-programs/)
    const contradiction = pipeline(directory.path, ["plan", "evaluate", "--set", "judge.task=gsm8k"])
    assert.match(contradiction.stderr, /judge\.task is gsm8k, but/)
  })

  it("of the documentation is the one that lies in the repository", () => {
    const page = readFileSync(fileURLToPath(new URL("../../docs/evaluation.md", import.meta.url)), "utf8")
    assert.include(page, readFileSync(join(examples, "tasks.yaml"), "utf8"))
    const { code, stderr } = pipeline(directory.path, [
      "plan",
      "evaluate",
      "--config",
      "docs/examples/evaluate/tasks.yaml"
    ])
    assert.strictEqual(code, 0, stderr)
  })
})
