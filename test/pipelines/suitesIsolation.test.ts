/** Keys of the pipeline `evaluate`: an edit of a benchmark is one of that benchmark alone, and never one of what was decoded; an edit of the sandbox's inside is one of verdicts. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import type { AnyStage } from "../../src/pipeline/Stage.ts"
import { compute, Session } from "../../src/runner/Fingerprint.ts"
import { evaluateChoices } from "../../stages/evaluate-choices.ts"
import { judge } from "../../stages/judge.ts"
import { questions } from "../../stages/questions.ts"
import { reportSuites } from "../../stages/report-suites.ts"
import { runPrograms } from "../../stages/run-programs.ts"
import { sample } from "../../stages/sample.ts"
import { sampleCausal } from "../../stages/sample-causal.ts"
import { score } from "../../stages/score.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
let directory: ReturnType<typeof temporaryDirectory>
beforeAll(() => {
  directory = temporaryDirectory()
  for (const folder of ["src", "stages", "pipelines"])
    cpSync(join(root, folder), join(directory.path, folder), { recursive: true })
  cpSync(join(root, "package.json"), join(directory.path, "package.json"))
  mkdirSync(join(directory.path, "configs"))
  symlinkSync(join(root, "node_modules"), join(directory.path, "node_modules"))
})
afterAll(() => directory.remove())

const targets: { readonly [label: string]: readonly [stage: unknown, file: string, name: string, method?: string] } = {
  "questions of humaneval": [questions, "questions", "questions", "humaneval"],
  "questions of gsm8k": [questions, "questions", "questions", "gsm8k"],
  "judge of humaneval": [judge, "judge", "judge", "humaneval"],
  "judge of gsm8k": [judge, "judge", "judge", "gsm8k"],
  samples: [sample, "sample", "sample", "masked"],
  "samples of vfm": [sample, "sample", "sample", "vfm"],
  "samples token by token": [sampleCausal, "sample-causal", "sampleCausal"],
  programs: [runPrograms, "run-programs", "runPrograms"],
  score: [score, "score", "score"],
  choices: [evaluateChoices, "evaluate-choices", "evaluateChoices", "masked"],
  report: [reportSuites, "report-suites", "reportSuites"]
}

/** What one session parses, all others share. */
const first = new Session()

const digests = async (): Promise<ReadonlyMap<string, string>> => {
  const session = first.again()
  const found = new Map<string, string>()
  for (const [label, [stage, file, name, method]] of Object.entries(targets)) {
    const { files, methods } = stage as AnyStage
    const target = { file: join(directory.path, "stages", `${file}.ts`), export: name, methods, files, method }
    found.set(label, (await Effect.runPromise(compute(target, session))).digest)
  }
  return found
}

/** Labels of the stages whose code is another one after an edit. */
const changedBy = async (file: string, from: string, to: string): Promise<ReadonlyArray<string>> => {
  const path = join(directory.path, file)
  const text = readFileSync(path, "utf8")
  assert.include(text, from)
  const before = await digests()
  writeFileSync(path, text.replace(from, to))
  try {
    const after = await digests()
    return [...before.keys()].filter(label => before.get(label) !== after.get(label))
  } finally {
    writeFileSync(path, text)
  }
}

describe("an edit", () => {
  it("of a benchmark changes its own questions and judge, and nothing that was decoded or run", async () => {
    assert.deepStrictEqual(await changedBy("src/evaluation/tasks/gsm8k.ts", "Answer:", "The answer:"), [
      "questions of gsm8k",
      "judge of gsm8k"
    ])
    assert.deepStrictEqual(await changedBy("src/evaluation/tasks/humaneval.ts", '"\\nprint"', '"\\nimport"'), [
      "questions of humaneval",
      "judge of humaneval"
    ])
  })

  it("of what runs inside the sandbox changes verdicts alone", async () => {
    assert.deepStrictEqual(await changedBy("src/sandbox/harness.py", '"passed"', '"well done"'), ["programs"])
  })

  it("of how gaps are filled, or of a method, changes samples", async () => {
    assert.deepStrictEqual(await changedBy("src/decoding/whole.ts", "E>(gaps.length", "E>(1 + gaps.length"), [
      "samples",
      "samples of vfm"
    ])
    // By masks or from left to right: neither is in the other's key.
    assert.deepStrictEqual(await changedBy("src/decoding/causal.ts", "let best = 0", "let best = 0 + 0"), [
      "samples token by token"
    ])
    assert.notInclude(
      await changedBy("src/methods/vfm/method.ts", "export const", "export const unused = 5\nexport const"),
      "samples"
    )
  })

  it("of the page changes the report alone", async () => {
    assert.deepStrictEqual(await changedBy("src/report/suiteTables.ts", '"tok/s"', '"tokens/s"'), ["report"])
  })

  it("of the estimator changes the score alone", async () => {
    assert.deepStrictEqual(await changedBy("src/evaluation/passAtK.ts", "let none = 1", "let none = 0.5"), ["score"])
  })
})
