/** The large profiles of d3llm-27b: they plan without network, and their bills follow the plan. */
import { Effect } from "effect"
import { assert, describe, it } from "vitest"
import { readModelSizes } from "../../pipelines/config.ts"
import d3llm from "../../pipelines/d3llm-27b.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { allLinearModules, countParameters } from "../../src/models/config.ts"
import { decodeModelConfig } from "../../src/models/families.ts"
import { type Bill, total } from "../../src/pipeline/Bill.ts"
import { evaluate } from "../../src/pipeline/Pipeline.ts"
import { only } from "../../src/pipeline/Plan.ts"

const planned = (profile: string, ...set: ReadonlyArray<string>) =>
  evaluate(d3llm, { profile, overrides: set.map(parseOverride) })

const billed = (profile: string, { precision = "f32", set = [] as ReadonlyArray<string> } = {}): Bill => {
  const { bill, nodes } = planned(profile, ...set)
  return bill!(nodes, { precision })
}

const term = (terms: Bill["fetch"], what: string): number => terms.find(each => each.what === what)?.bytes ?? 0

const parametersOf = (profile: string, label: string) =>
  JSON.parse(planned(profile).nodes.find(node => node.label === label)!.parametersText) as Record<string, unknown>

describe("the sizes of the released models", () => {
  it("are those of Qwen3.6-27B, to the parameter", () => {
    const sizes = Effect.runSync(decodeModelConfig(readModelSizes("qwen3.6-27b")))
    assert.strictEqual(countParameters(sizes), 26_895_998_464)
  })

  it("are those of Qwen3.6-35B-A3B, of which experts are no linear maps", () => {
    const sizes = Effect.runSync(decodeModelConfig(readModelSizes("qwen3.6-35b-a3b")))
    assert.strictEqual(Math.round(countParameters(sizes) / 1e8), 347)
    const linear = allLinearModules(sizes).reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0)
    assert.isBelow(linear / countParameters(sizes), 0.05)
  })
})

describe("the profiles", () => {
  it.each(Object.keys(d3llm.profiles))("%s plans, both rows alike but for trajectories", profile => {
    const { nodes } = planned(profile)
    const labels = nodes.map(({ label }) => label)
    for (const label of ["quantize", "train/random_masking", "train/trajectories", "trajectories/scheduled"])
      assert.include(labels, label)
    assert.strictEqual(parametersOf(profile, "train/random_masking")["trajectory_mode"], "none")
    assert.strictEqual(parametersOf(profile, "train/trajectories")["trajectory_mode"], "scheduled")
  })

  it("lay the whole of another recipe on the rows", () => {
    const train = parametersOf("qwen3.6-27b-4k", "train/trajectories")
    assert.strictEqual((train["adapter"] as { readonly r: number }).r, 16)
    assert.deepStrictEqual([train["num_train_epochs"], train["max_steps"], train["eval_every"]], [5, 1000, 200])
    const sequences = parametersOf("qwen3.6-27b-4k", "tokenize/corpus")
    assert.deepStrictEqual([sequences["maxSeqLen"], sequences["documents"]], [4096, 1000])
    const short = parametersOf("qwen3.6-27b-100-traj", "train/trajectories")
    assert.deepStrictEqual(short["trajectory_progressive_block_sizes"], [1, 2, 4])
    assert.strictEqual(parametersOf("qwen3.6-27b-100-traj", "tokenize/corpus")["documents"], 100)
    assert.strictEqual((parametersOf("qwen3.6-27b", "train/trajectories")["adapter"] as { readonly r: number }).r, 4)
  })
})

describe("the bill", () => {
  const bill = billed("qwen3.6-27b")

  it("of weights is what is fetched in bf16, and 4.127 bits for each weight of the layers' linear maps", () => {
    assert.strictEqual(term(bill.fetch, "weights of the text model, bf16"), 2 * 26_895_998_464)
    const linear = 24_350_556_160
    const packed = term(bill.gpuMemory, "weights in NF4")
    assert.closeTo((8 * packed) / linear, 4.127, 0.001)
    // What one hears, that all of it fits into 7 GB, is wrong by these alone.
    assert.isAbove(packed, 12.5e9)
    const others = 26_895_998_464 - linear
    assert.strictEqual(term(bill.keep, "the copy in NF4"), packed + 2 * others)
  })

  it("follows --set, --only and the precision", () => {
    const wider = billed("qwen3.6-27b", { set: ["train.adapter.r=8"] })
    const adapters = "adapters, their gradients and two moments, f32"
    // The mask's row is the same.
    assert.closeTo(term(wider.gpuMemory, adapters) / term(bill.gpuMemory, adapters), 2, 0.001)
    const plain = billed("qwen3.6-27b", { set: ["quantize.double_quant=false"] })
    assert.strictEqual(term(plain.gpuMemory, "weights in NF4"), (24_350_556_160 * 4.5) / 8)
    assert.isAbove(total(billed("qwen3.6-27b", { precision: "bf16" }).gpuMemory), total(bill.gpuMemory))
    const { plan } = only(planned("qwen3.6-27b"), ["tokenize/corpus"])
    const small = plan.bill!(plan.nodes, { precision: "f32" })
    assert.deepStrictEqual([total(small.gpuMemory), total(small.memory), total(small.fetch) < 1e8], [0, 0, true])
    assert.isUndefined(small.engine)
    assert.notInclude(
      small.sources.map(({ label }) => label),
      "download-model"
    )
  })

  it("grows with the rows' length, and with experts that are not quantised", () => {
    assert.isAbove(total(billed("qwen3.6-27b-4k").gpuMemory), total(bill.gpuMemory) + 8e9)
    assert.isAbove(term(billed("qwen3.6-35b-a3b").gpuMemory, "frozen weights that are not quantised"), 130e9)
  })

  it("is none of the embedded profile", () => {
    assert.isUndefined(planned("embedded").bill)
  })
})
