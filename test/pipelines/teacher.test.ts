/** The teachers as plans: which families there are, what they share, and how large each is. */
import { Effect, Schema } from "effect"
import { assert, describe, it } from "vitest"
import compare from "../../pipelines/compare-50x.ts"
import teacher from "../../pipelines/pretrain-teacher.ts"
import { countParameters } from "../../src/models/config.ts"
import { decodeModelConfig } from "../../src/models/families.ts"
import { modelFamilies, type ModelFamily } from "../../src/pipeline/ModelFamily.ts"
import { evaluate } from "../../src/pipeline/Pipeline.ts"
import { PretrainSettings } from "../../stages/pretrain.ts"
import { rendered } from "../support/configErrors.ts"
import { temporaryDirectory } from "../support/inProcess.ts"
import { program } from "../support/program.ts"

const nodesOf = (family?: ModelFamily) => evaluate(teacher, { variant: family === undefined ? {} : { family } }).nodes
const named = (family?: ModelFamily) => new Map(nodesOf(family).map(node => [node.label, node.parametersText]))

describe("pretrain-teacher", () => {
  it("trains a dense model unless it is asked for another", () => {
    assert.deepStrictEqual([...named("dense")], [...named()])
    assert.include([...named().keys()], "pretrain")
    assert.notInclude(named().get("pretrain"), "problem_repeats")
  })

  it("reads the same text and problems whatever the family; what is made of the model is called otherwise", () => {
    const [dense, hybrid] = [named("dense"), named("hybrid")]
    const shared = [...hybrid.keys()].filter(label => dense.has(label))
    assert.includeMembers(shared, ["download-tokenizer", "tokenize/training", "tokenize/problems", "tokenize/held-out"])
    for (const label of shared) assert.strictEqual(hybrid.get(label), dense.get(label), label)
    for (const label of ["pretrain/hybrid", "evaluate-causal/hybrid", "examine/hybrid-sort", "report-teacher/hybrid"])
      assert.isTrue(hybrid.has(label) && !dense.has(label), label)
    assert.strictEqual(hybrid.size, dense.size)
  })

  it("has a hybrid of three Gated DeltaNets for each layer that attends, of 1 M parameters", async () => {
    const { parameters } = nodesOf("hybrid").find(({ label }) => label === "pretrain/hybrid")!
    const { model } = Schema.decodeUnknownSync(Schema.toType(PretrainSettings))(parameters)
    const config = await Effect.runPromise(decodeModelConfig(model))
    assert.deepStrictEqual(
      config.layers.map(({ mixer: { kind } }) => kind === "attention"),
      [false, false, false, true, false, false, false, true]
    )
    // What ships stays small: 2.1 MB in bfloat16.
    assert.isBelow(2 * countParameters(config), 2.1e6)
  })

  it("knows no other family, and other pipelines know none", async () => {
    for (const family of modelFamilies)
      assert.match(
        rendered(() => evaluate(compare, { variant: { family } })),
        /--family: pipeline compare-50x does not take it/
      )
    const folder = temporaryDirectory()
    try {
      const { code, stderr } = await program(["plan", "pretrain-teacher", "--family", "sparse"], { cwd: folder.path })
      assert.strictEqual(code, 2, stderr)
      assert.match(stderr, /family[^]*dense[^]*hybrid/)
    } finally {
      folder.remove()
    }
  })
})
