/** Numbers of parameters against formulas in the width d, and at the sizes of Qwen3-1.7B against the figures of the specification. */
import { describe, expect, it } from "vitest"
import { Schema } from "effect"
import { ColaArchitecture, colaSpecs } from "../../src/methods/cola/networks.ts"
import { diffusionHeadSpecs } from "../../src/methods/shared/latents/diffusionHead.ts"
import { LdlmArchitecture, ldlmSpecs } from "../../src/methods/ldlm/networks.ts"
import { layerSpecs } from "../../src/methods/shared/latents/layers.ts"
import { VfmArchitecture, vfmSpecs } from "../../src/methods/vfm/networks.ts"
import { perceiverSpecs } from "../../src/methods/shared/latents/perceiver.ts"
import { countElements } from "../../src/models/parameters.ts"
import { modelConfig } from "../support/tinyModel.ts"

const qwen17 = modelConfig({ hiddenSize: 2048, layers: 28, vocabSize: 151_936 })
const millions = (specs: Parameters<typeof countElements>[0]): number => countElements(specs) / 1e6

describe.each([8, 24, 2048])("at a width of %i, parameters of", d => {
  it("a layer of a resampler are 16 d^2 + 13 d, of a token decoder 16 d^2 + 19 d, of a denoiser 12 d^2 + 10 d", () => {
    const shape = { width: d, selfAttention: true, crossAttention: true }
    expect(countElements(layerSpecs({ ...shape, projectionBias: false }))).toBe(16 * d * d + 13 * d)
    expect(countElements(layerSpecs({ ...shape, projectionBias: true }))).toBe(16 * d * d + 19 * d)
    expect(countElements(layerSpecs({ ...shape, crossAttention: false, projectionBias: false }))).toBe(
      12 * d * d + 10 * d
    )
  })

  it("a resampler are its layers and its latents; a narrower one reads through a projection, and with positions it has vectors of places", () => {
    const plain = { width: d, contextWidth: d, latents: 5, depth: 3, heads: 8 }
    expect(countElements(perceiverSpecs(plain))).toBe(3 * (16 * d * d + 13 * d) + 5 * d)
    expect(countElements(perceiverSpecs({ ...plain, contextWidth: 3, positions: 7 }))).toBe(
      3 * (16 * d * d + 13 * d) + 5 * d + 3 * d + d + (5 + 7) * d
    )
  })

  it("the seed's denoiser are its blocks, two maps of the time, the map of self-conditioning and the last norm", () => {
    const shape = { width: d, latents: 64, depth: 4, heads: 8, selfCondition: true, positions: false }
    const time = 2 * d + d * d + d
    expect(countElements(diffusionHeadSpecs(shape))).toBe(4 * (12 * d * d + 10 * d) + time + 2 * d * d + d + 2 * d)
  })
})

describe("LDLM", () => {
  /** The seed's networks: one width, no prompts, no positions. */
  const seed = (changes: Partial<typeof LdlmArchitecture.Encoded> = {}): LdlmArchitecture =>
    Schema.decodeUnknownSync(LdlmArchitecture)({
      seqLen: 64,
      depth: 4,
      decoderNumLayers: 2,
      diffusionHeadDepth: 4,
      promptLength: 0,
      latentPositions: false,
      ...changes
    })

  it("has 885 million parameters with the seed's grid configuration, and 311 million in the head", () => {
    const specs = ldlmSpecs(seed(), qwen17)
    const head = specs.filter(({ name }) => name.includes("lm_head"))
    expect(countElements(head)).toBe(151_936 * 2048 + 151_936)
    expect(millions(specs) - millions(head)).toBeCloseTo(885.6, 0)
    expect(millions(specs)).toBeCloseTo(1196.9, 0)
  })

  it("has 1.39 and 6.80 billion beside the two larger models of the seed", () => {
    expect(millions(ldlmSpecs(seed(), { ...qwen17, vocabSize: 248_320 }))).toBeCloseTo(1394.4, -1)
    expect(millions(ldlmSpecs(seed(), { ...qwen17, hiddenSize: 5120, vocabSize: 248_320 })) / 1000).toBeCloseTo(6.8, 1)
  })

  it("fits the 200 million of the seed's table with a width of 768 and the language model's own head", () => {
    const narrow = ldlmSpecs(seed({ latentDim: 768, tieLmHead: true }), qwen17)
    const [d, w] = [2048, 768]
    const layers = 8 * (16 * w * w + 13 * w) + 2 * (16 * w * w + 19 * w) + 4 * (12 * w * w + 10 * w)
    const others = 2 * 64 * w + (2 * w + w * w + w) + (2 * w * w + w) + 2 * w
    const projections = d * w + w + (w * d + d) + (d * w + w) + (w * d + d)
    expect(countElements(narrow)).toBe(layers + others + projections)
    expect(millions(narrow)).toBeLessThan(200)
  })
})

describe("the noise adapter", () => {
  const specs = (changes: Partial<typeof VfmArchitecture.Encoded>, d: number) =>
    vfmSpecs(Schema.decodeUnknownSync(VfmArchitecture)({ adapterLayers: 2, ...changes }), { ...qwen17, hiddenSize: d })

  it.each([8, 2048])("has 27 d^2 + 512 d parameters and vectors at a width of %i: 114 million with the seed's", d => {
    const vectors = 2 * 13 * d + 2 * d + 3 * d
    expect(countElements(specs({}, d))).toBe(27 * d * d + 512 * d + vectors)
    expect(countElements(specs({ noiseInput: "replacing" }, d))).toBe(27 * d * d + 512 * d + vectors + 2 * d)
    if (d === 2048) expect(millions(specs({}, d))).toBeCloseTo(114.4, 0)
  })
})

describe("Cola", () => {
  const specs = (changes: Partial<typeof ColaArchitecture.Encoded>, d: number) =>
    colaSpecs(Schema.decodeUnknownSync(ColaArchitecture)(changes), { ...qwen17, hiddenSize: d })
  const seed = { colaVae: false, colaCondition: false, colaPositions: false } as const

  it.each([8, 2048])(
    "has 143 d^2 + 443 d parameters with the seed's networks at a width of %i: 600 million with the seed's",
    d => {
      expect(countElements(specs(seed, d))).toBe(143 * d * d + 443 * d)
      if (d === 2048) expect(millions(specs(seed, d))).toBeCloseTo(600.7, 0)
    }
  )

  it("adds two heads and a decoder as a variational model, whose maps lead in and out of its width", () => {
    const [d, w] = [2048, 512]
    const plain = countElements(specs({ ...seed, colaWidth: w }, d))
    expect(plain).toBe(143 * w * w + 443 * w + 2 * (d * w + w))
    const decoder = d * w + w + 2 * (12 * w * w + 10 * w) + (w * d + d)
    expect(countElements(specs({ ...seed, colaVae: true, colaWidth: w }, d))).toBe(plain + 2 * (w * w + w) + decoder)
  })

  it("fits the 50 million of the seed's table with a width of 512, conditioned and with positions", () => {
    expect(millions(specs({ colaWidth: 512 }, 2048))).toBeGreaterThan(45)
    expect(millions(specs({ colaWidth: 512 }, 2048))).toBeLessThan(60)
  })
})
