/** `--sweep`: one run with a row for each value. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "vitest"
import compare from "../../pipelines/compare-50x.ts"
import convert from "../../pipelines/convert.ts"
import d3llm from "../../pipelines/d3llm-27b.ts"
import pretrain from "../../pipelines/pretrain-teacher.ts"
import { parseOverride, parseSweep } from "../../src/config/overrides.ts"
import { evaluate, type Pipeline, type Variant } from "../../src/pipeline/Pipeline.ts"
import { rendered } from "../support/configErrors.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const folder = temporaryDirectory()
afterAll(() => folder.remove())

const config = join(folder.path, "mine.yaml")
writeFileSync(
  config,
  "model:\n  model_path: embedded:teacher\ndata:\n  train_path: embedded:web50\n  eval_path: embedded:heldout\n  max_seq_len: 128\ntrain:\n  lr: 1e-3\n  global_batch_size: 2\n  num_train_epochs: 1\n"
)

const planned = (
  sweep: ReadonlyArray<string>,
  {
    set = [],
    pipeline = convert,
    ...variant
  }: Variant & { readonly set?: ReadonlyArray<string>; readonly pipeline?: Pipeline } = {}
) => {
  const { nodes } = evaluate(pipeline, {
    variant: { ...(pipeline === convert ? { config } : {}), sweep, ...variant },
    overrides: set.map(parseOverride)
  })
  return new Map(
    nodes.map(node => [node.label, JSON.parse(node.parametersText) as { readonly [field: string]: unknown }])
  )
}

const usesOf = (nodes: ReturnType<typeof planned>, stage: string): ReadonlyArray<string> =>
  [...nodes.keys()].flatMap(label => (label.startsWith(`${stage}/`) ? [label.slice(stage.length + 1)] : []))

interface Row {
  readonly name: string
  readonly label: string
  readonly against?: string
}
const reported = (nodes: ReturnType<typeof planned>) =>
  nodes.get("report-grid") as unknown as {
    readonly rows: ReadonlyArray<Row>
    readonly baseline: string
    readonly command: string
  }

describe("--sweep", () => {
  it("trains, measures and reports a row for each value, all in one table, each compared with the first", () => {
    const nodes = planned(["train.lr=1e-4,3e-4"])
    const names = ["mine-lr-1e-4", "mine-lr-3e-4"]
    for (const stage of ["train", "evaluate-likelihood", "evaluate-texts", "benchmark"])
      assert.deepStrictEqual(usesOf(nodes, stage), names, stage)
    assert.deepStrictEqual(
      names.map(name => nodes.get(`train/${name}`)!["lr"]),
      [1e-4, 3e-4]
    )
    const { baseline, command, rows } = reported(nodes)
    assert.deepStrictEqual(
      rows.map(({ against, label, name }) => [name, label, against]),
      [
        [names[0], "lr 1e-4", undefined],
        [names[1], "lr 3e-4", names[0]]
      ]
    )
    assert.strictEqual(baseline, names[0])
    assert.include(command, "--sweep train.lr=1e-4,3e-4")
  })

  it("gives what the same value by --set gives: a known result is reused", () => {
    const swept = planned(["train.lr=1e-4,3e-4"]).get("train/mine-lr-3e-4")
    assert.deepStrictEqual(swept, planned([], { set: ["train.lr=3e-4"] }).get("train/mine"))
  })

  it("of several fields makes a row of each combination; lists, groups and seeds go with it", () => {
    const nodes = planned(["train.lr=1e-4,3e-4", "train.align_layers=[2],'2,4'"], {
      set: ["train.repr_align_wt=1"],
      seeds: 2
    })
    assert.deepStrictEqual(usesOf(nodes, "benchmark"), [
      "mine-lr-1e-4-align_layers-2",
      "mine-lr-1e-4-align_layers-2-2",
      "mine-lr-1e-4-align_layers-2_4",
      "mine-lr-1e-4-align_layers-2_4-2",
      "mine-lr-3e-4-align_layers-2",
      "mine-lr-3e-4-align_layers-2-2",
      "mine-lr-3e-4-align_layers-2_4",
      "mine-lr-3e-4-align_layers-2_4-2"
    ])
    const adapted = planned(["train.adapter.r=4,8"])
    assert.deepInclude(adapted.get("train/mine-r-8")!["adapter"] as object, { r: 8 })
  })

  it("may take a field away, or change some of a mapping", () => {
    const blocks = planned(["train.attention_block_size=null,32"])
    const sizes = ["null", "32"].map(
      value => blocks.get(`train/mine-attention_block_size-${value}`)!["attention_block_size"] ?? "none"
    )
    assert.deepStrictEqual(sizes, ["none", 32])
    assert.include([...planned(["train.attention_block_size=32,null"]).keys()], "train/mine-attention_block_size-null")
    const adapters = [...planned(["train.adapter={r: 8},{r: 16}"]).values()].flatMap(({ adapter }) => adapter ?? [])
    assert.deepStrictEqual(
      adapters.map(adapter => (adapter as { readonly r: number }).r),
      [8, 16]
    )
  })

  it("has quotes where a value begins, and numbers that are finite", () => {
    assert.deepStrictEqual(
      parseSweep("train.x=it's,b").map(({ value }) => value),
      ["it's", "b"]
    )
    assert.deepStrictEqual(
      parseSweep("train.x='4,8', '2,4'").map(({ value }) => value),
      ["4,8", "2,4"]
    )
    assert.match(
      rendered(() => parseSweep("train.lr=.inf,1")),
      /--sweep.*not a finite number/
    )
  })

  it("brings along what a value needs, and only for it", () => {
    assert.notInclude([...planned(["train.lr=1e-4,3e-4"]).keys()], "anchor")
    assert.include([...planned(["train.repr_align_wt=0,1"]).keys()], "anchor")
  })

  it("in a grid means the rows that have the field, or the one that it names; comparisons follow", () => {
    const nodes = planned(["train.repr_align_wt=0.5,1"], { pipeline: compare })
    const trained = usesOf(nodes, "train")
    for (const name of ["with_align-repr_align_wt-0.5", "with_align-repr_align_wt-1", "ldlm", "vfm"])
      assert.include(trained, name)
    const beside = (name: string) => reported(nodes).rows.find(row => row.name === name)?.against
    assert.strictEqual(beside("with_align-repr_align_wt-1"), "with_align-repr_align_wt-0.5")
    assert.strictEqual(beside("with_trajectory-repr_align_wt-0.5"), "with_align-repr_align_wt-0.5")
    const one = planned(["train/with_align.lr=1e-4,3e-4"], { pipeline: compare })
    assert.deepStrictEqual(
      usesOf(one, "train").filter(name => name.includes("-lr-")),
      ["with_align-lr-1e-4", "with_align-lr-3e-4"]
    )
    assert.strictEqual(reported(one).rows.find(({ name }) => name === "with_trajectory")?.against, "with_align-lr-1e-4")
    assert.strictEqual(reported(one).baseline, "no_align")
    // A row without trajectories stays one, whatever is tried of them.
    const [masked] = usesOf(planned(["train.trajectory_mode=scheduled,random"], { pipeline: d3llm }), "benchmark")
    assert.strictEqual(masked, "random_masking")
  })

  it.each([
    [["train.lr"], {}, /--sweep: the value is missing/],
    [["train.lr=1e-4,,3e-4"], {}, /--sweep: the value is missing/],
    [["train.lr=1e-4,0.0001"], {}, /--sweep: 0\.0001 stands there twice/],
    [["train.lr=1e-4,fast"], {}, /^--sweep: train\/mine-lr-fast\.lr must be a number.*\n +--sweep train\.lr=fast\n/],
    [["train.lrr=1,2"], {}, /^--sweep: train\/mine-lrr-1\.lrr is not known/],
    [["train.ldlm.depth=2,4"], {}, /no row has the field/],
    [["tokenize.maxSeqLen=64,128"], {}, /names no training of a row\n.*--set tokenize\.maxSeqLen=64 --tag NAME/],
    [["train/other.lr=1,2"], {}, /names no training of a row/],
    [["train.lr=1e-4,3e-4"], { set: ["train.lr=1e-2"] }, /--set gives train\/mine-lr-1e-4 another lr/],
    [["train.lr=1e-4,3e-4"], { pipeline: pretrain }, /--sweep: pipeline pretrain-teacher does not take it/]
  ] as const)("%j %j is refused, and the message says why", (sweep, options, reason) => {
    assert.match(
      rendered(() => planned(sweep, options)),
      reason
    )
  })
})
