import { describe, expect, it } from "vitest"
import type { ParameterSpec } from "../../src/models/parameters.ts"
import { groupParameters, splitParameters } from "../../src/training/groups.ts"

const spec = (name: string, ...shape: ReadonlyArray<number>): ParameterSpec => ({ name, shape, initial: "zeros" })
const specs = [
  spec("model.embed_tokens.weight", 5, 2),
  spec("model.layers.0.mlp.weight", 2, 2),
  spec("model.layers.0.norm.weight", 2),
  spec("model.layers.1.mlp.weight", 2, 2),
  spec("model.layers.1.norm.weight", 2),
  spec("model.norm.weight", 2)
]
const names = (all: ReadonlyArray<ParameterSpec>): ReadonlyArray<string> => all.map(({ name }) => name)

describe("freezing", () => {
  it("takes out what a pattern names, by parts of names, wildcards and aliases", () => {
    const { frozen, trainable } = splitParameters(specs, ["lm_head", "layers.0*weight"], {
      "lm_head.weight": "model.embed_tokens.weight"
    })
    expect(names(frozen)).toEqual(names(specs).slice(0, 3))
    expect(names(trainable)).toEqual(names(specs).slice(3))
  })
  it("refuses patterns that match nothing, and to freeze everything", () => {
    expect(() => splitParameters(specs, ["embedings"])).toThrow(
      'freeze_layers: no parameter\'s name contains "embedings"; names are like model.norm.weight'
    )
    expect(() => splitParameters(specs, ["m.d.l"])).toThrow(/no parameter/)
    expect(() => splitParameters(specs, ["model"])).toThrow("every parameter is frozen")
  })
})

describe("groups", () => {
  it("are one where nothing distinguishes parameters", () => {
    const grouped = groupParameters(specs, { layerwiseDecay: 0, noDecayNorms: false })
    expect(grouped).toEqual({ specs, groups: [{ offset: 0, size: 24, rateFactor: 1, decays: true }] })
  })
  it("hold the parameters of equal rate and decay one after the other", () => {
    const grouped = groupParameters(specs, { layerwiseDecay: 0.5, noDecayNorms: true })
    expect(names(grouped.specs).toSorted()).toEqual(names(specs).toSorted())
    expect(grouped.groups).toEqual([
      { offset: 0, size: 14, rateFactor: 0.5, decays: true },
      { offset: 14, size: 2, rateFactor: 0.5, decays: false },
      { offset: 16, size: 4, rateFactor: 1, decays: true },
      { offset: 20, size: 4, rateFactor: 1, decays: false }
    ])
    expect(names(grouped.specs.slice(0, 2))).toEqual(["model.embed_tokens.weight", "model.layers.0.mlp.weight"])
  })
  it("multiply the rates that parameters have of their own", () => {
    const faster = specs.map((each, i) => (i === 3 ? { ...each, rateFactor: 3 } : each))
    const plain = groupParameters(faster, { layerwiseDecay: 0, noDecayNorms: false }).groups
    expect(plain).toEqual([
      { offset: 0, size: 20, rateFactor: 1, decays: true },
      { offset: 20, size: 4, rateFactor: 3, decays: true }
    ])
    const byLayer = groupParameters(faster, { layerwiseDecay: 0.5, noDecayNorms: false }).groups
    expect(byLayer.find(({ rateFactor }) => rateFactor === 3)?.size).toBe(4)
    expect(byLayer.map(({ rateFactor }) => rateFactor)).toEqual([0.5, 3, 1])
  })
})
