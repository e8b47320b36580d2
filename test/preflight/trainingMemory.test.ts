/** The formula of a training step's memory: against numbers worked out by hand, and against the values of the step's own program. */
import { Effect, Schema } from "effect"
import { assert, describe, it } from "vitest"
import { AdapterSettings, adapterOf } from "../../src/methods/shared/adapterSettings.ts"
import { entropyTerms, meanEntropy } from "../../src/methods/shared/trajectories/terms.ts"
import { type ModelConfig, parameterSpecs } from "../../src/models/config.ts"
import { decodeModelConfig } from "../../src/models/families.ts"
import { nextTokenLosses, nextTokenLossInputs } from "../../src/models/nextTokenLoss.ts"
import { parameterInputs } from "../../src/models/parameters.ts"
import { total } from "../../src/pipeline/Bill.ts"
import { trainingMemory, type TrainingStep } from "../../src/preflight/trainingMemory.ts"
import { gradients } from "../../src/tensor/autodiff.ts"
import { add, input, mul, sum } from "../../src/tensor/ops.ts"
import { makeProgram } from "../../src/tensor/Program.ts"
import { mostLiveBytes } from "../support/liveBytes.ts"

const decode = (json: object): ModelConfig => Effect.runSync(decodeModelConfig(json))

const underQlora = (config: ModelConfig, r: number): ModelConfig => ({
  ...config,
  linear: {
    nf4: { blockSize: 64, doubleQuant: true, modules: "auto" },
    adapter: adapterOf(Schema.decodeSync(AdapterSettings)({ r }), 5)
  }
})

const step = (length: number, more: Partial<TrainingStep> = {}): TrainingStep => ({
  batch: { rows: 1, length },
  checkpointLayers: true,
  sixteenBits: false,
  ...more
})

const byWhat = (config: ModelConfig, of: TrainingStep) =>
  Object.fromEntries(trainingMemory(config, of).map(({ bytes, what }) => [what, bytes]))

describe("the memory of a step", () => {
  // Two dense layers: d = 64, 4 heads of 16 with 2 for keys and values, 128 inside, 1,000 tokens.
  const small = underQlora(
    decode({
      model_type: "qwen3",
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 16,
      vocab_size: 1000
    }),
    8
  )
  /** Inputs and outputs of a layer's linear maps: q, k, v, o, gate, up, down. */
  const maps = [
    [64, 64],
    [64, 32],
    [64, 32],
    [64, 64],
    [64, 128],
    [64, 128],
    [128, 64]
  ] as const

  it("has the terms that one works out by hand", () => {
    const terms = byWhat(small, step(32))
    // Packed: half a byte each, a byte for 64, 4 bytes for 256 of those, 4 for the mean.
    const packed = maps.reduce((bytes, [from, to]) => {
      const blocks = (from * to) / 64
      return bytes + (from * to) / 2 + blocks + 4 * Math.ceil(blocks / 256) + 4
    }, 0)
    assert.strictEqual(terms["weights in NF4"], 2 * packed)
    // Embedding, head, two norms a layer and one at the end, and those of queries and keys.
    const others = 2 * 1000 * 64 + 2 * (2 * 64 + 2 * 16) + 64
    assert.strictEqual(terms["frozen weights that are not quantised"], 4 * others)
    const adapters = 2 * maps.reduce((n, [from, to]) => n + 8 * (from + to), 0) + 64
    assert.strictEqual(terms["adapters, their gradients and two moments, f32"], 16 * adapters)
    assert.strictEqual(terms["what enters each layer, f32"], 4 * 32 * 64 * 3)
    const widths = maps.reduce((n, [from, to]) => n + from + to, 0)
    // Of the logits all 31 predictions are made at once; there are more of them than numbers in a layer.
    assert.strictEqual(terms["logits of 31 predictions at a time"], 6 * 4 * 31 * 1000)
    assert.strictEqual(terms["what the head reads, and its gradient"], 4 * 4 * 31 * 64)
    assert.isAbove(6 * 4 * 31 * 1000, 2.5 * 4 * 32 * widths)
    assert.notProperty(terms, "the head, copied to compute logits again")
    assert.notProperty(terms, "copies of dense weights in 16 bits")
  })

  it("counts scores of attention by the square of the row, and without checkpoints those of all layers", () => {
    const terms = byWhat(small, step(1024))
    assert.strictEqual(terms["scores of attention, of one layer"], 3 * 4 * 4 * 1024 ** 2)
    assert.strictEqual(terms["the largest linear map made dense"], 3 * 4 * 64 * 128)
    const kept = byWhat(small, step(1024, { checkpointLayers: false }))
    assert.strictEqual(kept["scores of attention, of 2 layers"], 2 * 3 * 4 * 4 * 1024 ** 2)
    assert.strictEqual(kept["inside of 2 layers"], 2 * terms["inside of one layer"]!)
  })

  it("counts the 16-bit copies of what products read: the head and the adapters, not the embedding", () => {
    const terms = byWhat(small, step(32, { sixteenBits: true }))
    const adapters = 2 * maps.reduce((n, [from, to]) => n + 8 * (from + to), 0)
    const maskRow = 64
    assert.strictEqual(terms["copies of dense weights in 16 bits"], 2 * (1000 * 64 + adapters + maskRow))
  })

  it("is 4.127 bits for each weight in NF4, and 4.5 without double quantisation", () => {
    const wide = decode({
      model_type: "qwen3",
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 1,
      num_attention_heads: 16,
      num_key_value_heads: 16,
      head_dim: 128,
      vocab_size: 1000
    })
    const bits = (doubleQuant: boolean) => {
      const config = {
        ...underQlora(wide, 4),
        linear: { ...underQlora(wide, 4).linear, nf4: { blockSize: 64, doubleQuant, modules: "auto" } }
      } as const
      return (8 * byWhat(config, step(32))["weights in NF4"]!) / (4 * 2048 ** 2 + 3 * 2048 * 8192)
    }
    assert.closeTo(bits(true), 4.127, 0.0005)
    assert.strictEqual(bits(false), 4.5)
  })
})

/** The program of a step with trajectories, as the trainer makes it. */
const programOf = (config: ModelConfig, { batch, checkpointLayers }: TrainingStep) => {
  const specs = parameterSpecs(config)
  const parameter = parameterInputs(specs)
  const data = nextTokenLossInputs(batch)
  const { further, losses } = nextTokenLosses(
    config,
    parameter,
    name => input(name, data[name].dtype, data[name].shape),
    {
      causal: false,
      checkpointLayers,
      dropoutKey: input("dropoutKey", "i64", [2]),
      further: {
        ahead: 0,
        of: (logits, targets) => {
          const { entropies, right } = entropyTerms(logits, targets, 0.5)
          return [entropies, right]
        }
      }
    }
  )
  const columns = [batch.rows * (batch.length - 1)]
  const entropy = meanEntropy(further[0]!, further[1]!, input("supervised", "f32", columns))
  const loss = add(sum(mul(losses, input("weights", "f32", columns))), entropy)
  const trained = specs.filter(spec => spec.trained === true).map(({ name }) => name)
  const found = gradients(loss, trained.map(parameter))
  return makeProgram(
    Object.fromEntries([["loss", loss], ...found.map((gradient, i) => [`gradient/${trained[i]}`, gradient])])
  )
}

describe("the formula beside the program of the step", () => {
  const hybrid = {
    model_type: "qwen3_5_text",
    hidden_size: 1280,
    intermediate_size: 4352,
    num_hidden_layers: 4,
    num_attention_heads: 6,
    num_key_value_heads: 1,
    head_dim: 256,
    linear_num_key_heads: 4,
    linear_num_value_heads: 12,
    vocab_size: 2048
  }
  const { intermediate_size: _, ...rest } = hybrid
  const experts = {
    ...rest,
    model_type: "qwen3_5_moe_text",
    num_experts: 8,
    num_experts_per_tok: 4,
    moe_intermediate_size: 256,
    shared_expert_intermediate_size: 256
  }
  const cases = [
    ["the layers, of short rows", hybrid, step(256)],
    ["the layers, of long rows, where attention is most", hybrid, step(2048)],
    ["the layers, none computed again", hybrid, step(256, { checkpointLayers: false })],
    ["the layers, with experts", experts, step(256)],
    ["the head, of a large vocabulary", { ...hybrid, vocab_size: 248_320 }, step(256)]
  ] as const

  it.each(cases)("is no less than what lives at the worst moment, and less than twice that: %s", (_, json, of) => {
    const config = underQlora(decode(json), 8)
    const lives = mostLiveBytes(programOf(config, of))
    const standing = /^(weights|frozen|adapters|copies of dense|reserve)/
    const counted = total(trainingMemory(config, of).filter(({ what }) => !standing.test(what)))
    assert.isAtLeast(counted, lives)
    assert.isBelow(counted, 2 * lives)
  })
})
