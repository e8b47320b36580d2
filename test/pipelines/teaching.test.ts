/** Whose orders and responses a row of a comparison follows, as a plan: `base`, `self` or a model by its source; responses of the data, or the teacher's own. */
import { assert, describe, it } from "vitest"
import compare from "../../pipelines/compare-50x.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { evaluate, type Variant } from "../../src/pipeline/Pipeline.ts"
import { rendered } from "../support/configErrors.ts"

const row = "with_trajectory"

/** Labels, and where each port of a node leads. */
const planned = (set: ReadonlyArray<string>, variant: Variant = {}) => {
  const { nodes } = evaluate(compare, { variant, overrides: set.map(parseOverride) })
  const of = (label: string) => nodes.find(node => node.label === label)!
  return {
    labels: nodes.map(({ label }) => label),
    parameters: (label: string) => of(label).parametersText,
    wires: (label: string): { readonly [port: string]: string } =>
      Object.fromEntries(
        of(label).wires.map(({ name, node, output, port }) => [
          name === undefined ? port : `${port}/${name}`,
          `${nodes[node]!.label}.${output}`
        ])
      )
  }
}
const ofRow = (field: string, value: string) => `train/${row}.${field}=${value}`
const withoutTrajectories = planned([])

describe("the teacher of a row", () => {
  it("is its base where nothing else is said", () => {
    const said = planned([ofRow("trajectory_teacher", "base"), ofRow("trajectory_response", "data")])
    assert.deepStrictEqual(said.labels, withoutTrajectories.labels)
    assert.strictEqual(said.wires("trajectories/scheduled")["teacher"], "download-model.model")
    assert.deepStrictEqual(said.wires(`train/${row}`), withoutTrajectories.wires(`train/${row}`))
  })

  it("is the row itself, trained first as if it had never heard of trajectories", () => {
    const plan = planned([ofRow("trajectory_teacher", "self")])
    const teacher = `train/${row}-teacher`
    assert.strictEqual(plan.wires(`train/${row}`)["trajectories"], `trajectories/scheduled-${row}.trajectories`)
    assert.strictEqual(plan.wires(`trajectories/scheduled-${row}`)["teacher"], `${teacher}.model`)
    assert.strictEqual(
      plan.wires("report-grid")[`trajectories/scheduled-${row}`],
      `trajectories/scheduled-${row}.trajectories`
    )
    assert.notInclude(plan.labels, "trajectories/scheduled")
    // The row differs from that with alignment in its trajectories alone: its teacher is the same action.
    assert.strictEqual(plan.parameters(teacher), plan.parameters("train/with_align"))
    assert.deepStrictEqual(plan.wires(teacher), plan.wires("train/with_align"))
    assert.notProperty(plan.wires("report-grid"), `models/${row}-teacher`)
  })

  it("is another for each seed", () => {
    const plan = planned([`train.trajectory_teacher=self`], { seeds: 2 })
    for (const name of [row, `${row}-2`]) {
      assert.strictEqual(plan.wires(`trajectories/scheduled-${name}`)["teacher"], `train/${name}-teacher.model`)
      assert.include(plan.parameters(`train/${name}-teacher`), `"seed_offset":${name === row ? 0 : 1}`)
    }
  })

  it("is a model that the row names, the same for all rows that do", () => {
    const plan = planned([ofRow("trajectory_teacher", "org/name"), "train/random_order.trajectory_teacher=org/name"], {
      controls: true
    })
    assert.include(plan.parameters("download-model/org_name"), "hf://models/org/name@main")
    for (const mode of ["scheduled", "random"])
      assert.strictEqual(plan.wires(`trajectories/${mode}-org_name`)["teacher"], "download-model/org_name.model")
    const local = planned([ofRow("trajectory_teacher", "file:some/teacher")])
    assert.include(local.parameters("download-model/file_some_teacher"), "file:some/teacher")
  })

  it("is asked for nothing by rows without trajectories", () => {
    const plan = planned(["train/no_align.trajectory_teacher=self"])
    assert.deepStrictEqual(plan.labels, withoutTrajectories.labels)
  })
})

describe("the responses of a row", () => {
  it("are the teacher's own, with the order in which it decoded them; all rows are measured on the same data", () => {
    const plan = planned([ofRow("trajectory_response", "own"), ofRow("trajectory_mode", "decoded")])
    const wires = plan.wires(`train/${row}`)
    assert.strictEqual(wires["sequences"], "concatenate/own-base.sequences")
    // The documents stay as they are: only the examples have prompts to be answered.
    assert.deepStrictEqual(plan.wires("concatenate/own-base"), {
      "parts/corpus": "tokenize/corpus.sequences",
      "parts/examples": "decode-responses/base.sequences"
    })
    assert.strictEqual(wires["trajectories"], "decode-responses/base.trajectories")
    assert.strictEqual(wires["heldOut"], "tokenize/held-out.sequences")
    assert.strictEqual(plan.wires(wires["anchors"]!.split(".")[0]!)["sequences"], "concatenate/own-base.sequences")
    assert.deepInclude(plan.wires("decode-responses/base"), {
      teacher: "download-model.model",
      sequences: "tokenize/examples.sequences"
    })
    assert.strictEqual(plan.wires("train/with_align")["sequences"], "concatenate/data.sequences")
    assert.deepStrictEqual(plan.wires("concatenate/data"), {
      "parts/corpus": "tokenize/corpus.sequences",
      "parts/examples": "tokenize/examples.sequences"
    })
    assert.strictEqual(
      plan.wires("train/with_align")["anchors"],
      withoutTrajectories.wires("train/with_align")["anchors"]
    )
    assert.strictEqual(plan.wires(`evaluate-texts/${row}`)["corpus"], "tokenize/corpus.sequences")
    assert.deepInclude(plan.wires("report-grid"), {
      "trajectories/decoded-base": "decode-responses/base.trajectories",
      "sequences/responses-base": "decode-responses/base.sequences"
    })
  })

  it("are those of the row's own diffusion model: the recipe of the paper", () => {
    const plan = planned(
      ["trajectory_teacher=self", "trajectory_response=own", "trajectory_mode=decoded"].map(
        text => `train/${row}.${text}`
      )
    )
    assert.strictEqual(plan.wires(`train/${row}`)["sequences"], `concatenate/own-${row}.sequences`)
    assert.strictEqual(plan.wires(`concatenate/own-${row}`)["parts/examples"], `decode-responses/${row}.sequences`)
    assert.strictEqual(plan.wires(`decode-responses/${row}`)["teacher"], `train/${row}-teacher.model`)
    assert.strictEqual(plan.wires(`train/${row}-teacher`)["sequences"], "concatenate/data.sequences")
  })

  it("are learnt by a row of the grid, whose teacher is the row that learns by random masks", () => {
    assert.strictEqual(
      withoutTrajectories.parameters("train/own_trajectories-teacher"),
      withoutTrajectories.parameters("train/no_align")
    )
    const { trajectory_mode: mode, ...settings } = JSON.parse(
      withoutTrajectories.parameters("train/own_trajectories")
    ) as { readonly [field: string]: unknown }
    assert.strictEqual(mode, "decoded")
    const controls = planned([], { controls: true })
    const other = JSON.parse(controls.parameters("train/own_responses")) as { readonly [field: string]: unknown }
    assert.deepStrictEqual({ ...other, trajectory_mode: "none" }, { ...settings, trajectory_mode: "none" })
    // The control learns the same responses: those of one teacher.
    assert.strictEqual(
      controls.parameters("decode-responses/own_responses"),
      controls.parameters("decode-responses/own_trajectories")
    )
  })

  it("may be masked by chance, or along any other order: the controls", () => {
    const plain = planned([ofRow("trajectory_response", "own"), ofRow("trajectory_mode", "none")])
    assert.strictEqual(plain.wires(`train/${row}`)["sequences"], "concatenate/own-base.sequences")
    assert.notProperty(plain.wires(`train/${row}`), "trajectories")
    const random = planned([ofRow("trajectory_response", "own"), ofRow("trajectory_mode", "random")])
    assert.strictEqual(random.wires(`train/${row}`)["trajectories"], "trajectories/random-own.trajectories")
    assert.strictEqual(random.wires("trajectories/random-own")["sequences"], "concatenate/own-base.sequences")
  })
})

describe("what cannot be", () => {
  const refused = (...set: ReadonlyArray<string>) => rendered(() => planned(set))

  it("is refused where it is said", () => {
    assert.match(
      refused(ofRow("trajectory_mode", "decoded")),
      /trajectory_mode: a teacher decodes responses of its own alone; set trajectory_response to own/
    )
    assert.match(refused(ofRow("trajectory_response", "mine")), /trajectory_response/)
    assert.match(
      refused(ofRow("trajectory_teacher", "self"), "train.trajectory_mode=random"),
      /train\/with_trajectory-teacher is the teacher of a row, trained without trajectories; trajectory_mode is set for it, too/
    )
    assert.match(
      refused(ofRow("trajectory_teacher", "self"), `trajectories.mode=lr`),
      /trajectories\/scheduled-with_trajectory\.mode is lr, .* is scheduled/
    )
  })
})
