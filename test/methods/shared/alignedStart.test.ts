/** The start from which attention goes by place: who stands for what, and that a fresh network already carries each token to its own place. */
import { describe, expect, it } from "vitest"
import { Schema } from "effect"
import { evaluateTensors } from "../../../src/engines/reference/evaluate.ts"
import { cola, ColaArchitecture, colaSpecs } from "../../../src/methods/cola/networks.ts"
import { ldlm, LdlmArchitecture, ldlmSpecs } from "../../../src/methods/ldlm/networks.ts"
import {
  alignedPlaces,
  type LatentStart,
  partsOfLatents,
  type Places,
  standsFor
} from "../../../src/methods/shared/latents/alignedStart.ts"
import { perceiver, perceiverSpecs } from "../../../src/methods/shared/latents/perceiver.ts"
import { type Initial, initialValues, type ParameterSpec } from "../../../src/models/parameters.ts"
import { input } from "../../../src/tensor/ops.ts"
import { normals, randomKey } from "../../../src/tensor/random.ts"
import type { Tensor } from "../../../src/tensor/Tensor.ts"
import { modelConfig } from "../../support/tinyModel.ts"

const seed = 3
const valuesOf = (specs: ReadonlyArray<ParameterSpec>): { readonly [name: string]: Float32Array } =>
  Object.fromEntries(specs.map(spec => [spec.name, initialValues(spec, seed)]))
const weightsOf = (specs: ReadonlyArray<ParameterSpec>) => {
  const inputs = new Map(specs.map(({ name, shape }) => [name, input(name, "f32", shape)]))
  return (name: string): Tensor => inputs.get(name)!
}

describe("who stands for what", () => {
  it.each<Places>([
    { latents: 4, heads: 2, positions: 8 },
    { latents: 4, heads: 2, positions: 23 },
    { latents: 3, heads: 1, positions: 100 }
  ])("%o: heads of latents share the positions, each is somebody's, and in order", places => {
    const stretches = Array.from({ length: places.latents * places.heads }, (_, i) =>
      standsFor(places, Math.floor(i / places.heads), i % places.heads)
    )
    let next = 0
    for (const [from, to] of stretches) {
      expect(from).toBe(next)
      expect(to).toBeGreaterThan(from)
      next = to
    }
    expect(next).toBe(places.positions)
  })

  it("as many latents as positions: each for its own, with all heads", () => {
    const places = { latents: 6, heads: 4, positions: 6 }
    for (let latent = 0; latent < 6; latent++)
      for (let head = 0; head < 4; head++) expect(standsFor(places, latent, head)).toEqual([latent, latent + 1])
  })
})

describe("places of queries", () => {
  const places = { latents: 3, heads: 2, positions: 12 }
  const width = 4
  /** 2 ln keys, over the root of a head's size. */
  const gain = (keys: number): number => (2 * Math.log(keys)) / Math.sqrt(2)

  it("of latents are the sums of the positions' vectors that each head stands for, for a score of twice the logarithm of their number", () => {
    const spec = alignedPlaces("x.places", { ...places, queries: "latents", of: "positions", width })
    const [vectors, queries] = [
      normals(randomKey(seed, "initial value of x.positions"), 12 * width),
      initialValues(spec, seed)
    ]
    for (let latent = 0; latent < 3; latent++)
      for (let i = 0; i < width; i++) {
        // Two positions for each of two heads, of two elements each.
        const first = latent * 4 + (i < 2 ? 0 : 2)
        const sum = vectors[first * width + i]! + vectors[(first + 1) * width + i]!
        expect(queries[latent * width + i]).toBeCloseTo((gain(12) * sum) / Math.SQRT2, 5)
      }
  })

  it("of positions are the vector of the latent's head that stands for the token ahead, and 0 in its other heads", () => {
    const given = { ...places, queries: "positions", of: "latent_positions", unplaced: 5, ahead: 1, width } as const
    const spec = alignedPlaces("x.positions", given)
    const [vectors, queries] = [
      normals(randomKey(seed, "initial value of x.latent_positions"), 8 * width),
      initialValues(spec, seed)
    ]
    expect(spec.shape).toEqual([12, width])
    for (let position = 0; position < 12; position++)
      for (let i = 0; i < width; i++) {
        const token = position + 1
        const [latent, head] = [Math.floor(token / 4), Math.floor((token % 4) / 2)]
        const found = token < 12 && Math.floor(i / 2) === head ? gain(8) * vectors[(5 + latent) * width + i]! : 0
        expect(queries[position * width + i]).toBeCloseTo(found, 5)
      }
  })
})

describe("latents for several positions", () => {
  const places = { width: 8, heads: 2, latents: 5, positions: 10 }
  const of = (initial: Initial, rows: number) => initialValues({ name: "a.weight", shape: [rows, 8], initial }, seed)
  const drawn = of({ normal: 24 ** -0.5 }, 24)
  const identity = Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0))

  it("are written and read part by part as they are, by maps between parts and tokens that all heads share", () => {
    const writing = partsOfLatents({ ...places, queries: "latents" })!
    const values = of(writing.read!, 24).subarray(128)
    expect(values.subarray(0, 32)).toEqual(values.subarray(32))
    expect(of(writing.back!, 8)).toEqual(identity)
    const reading = partsOfLatents({ ...places, queries: "positions" })!
    expect(of(reading.read!, 24).subarray(128)).toEqual(identity)
    const back = of(reading.back!, 8)
    for (const [i, value] of back.entries()) if (i % 8 < 4) expect(back[i + 4]).toBe(value)
    // Queries and keys are compared by maps that are drawn as always.
    for (const { read } of [writing, reading]) expect(of(read!, 24).subarray(0, 128)).toEqual(drawn.subarray(0, 128))
  })

  it("have no parts where each stands for one", () => {
    expect(partsOfLatents({ ...places, positions: 5, queries: "latents" })).toBeUndefined()
  })
})

/** Of each place of what is read, the place of the answer that a change of it moves most. x [1, from, width] -> answer [1, to, …]. */
const movedMost = (
  answer: (x: Float32Array) => ArrayLike<number>,
  { from, to, width }: { readonly from: number; readonly to: number; readonly width: number },
  places = Array.from({ length: from }, (_, i) => i)
): ReadonlyArray<number> => {
  const x = normals(randomKey(1, "states"), from * width)
  const before = answer(x)
  const size = before.length / to
  return places.map(place => {
    const changed = x.slice()
    const by = normals(randomKey(2, "change", place), width)
    for (let i = 0; i < width; i++) changed[place * width + i]! += 0.1 * by[i]!
    const after = answer(changed)
    const moves = Array.from({ length: to }, (_, q) =>
      Math.hypot(...Array.from({ length: size }, (_, i) => after[q * size + i]! - before[q * size + i]!))
    )
    return moves.indexOf(Math.max(...moves))
  })
}
const agreeing = (found: ReadonlyArray<number>, wanted: ReadonlyArray<number>): number =>
  found.filter((place, i) => place === wanted[i]).length / found.length

describe("a fresh network", () => {
  const n = 16
  const own = Array.from({ length: n }, (_, i) => i)

  it("a resampler writes each position into its latent, which from a random start it does not", () => {
    const shape = { width: 64, contextWidth: 64, latents: n, positions: n, depth: 1, heads: 2 }
    const share = (start: LatentStart): number => {
      const specs = perceiverSpecs(shape, start === "random" ? start : { vectorsAre: "latents" })
      const values = valuesOf(specs)
      const z = perceiver(weightsOf(specs), shape, input("x", "f32", [1, n, 64]))
      return agreeing(
        movedMost(x => evaluateTensors({ z }, { ...values, x })["z"]!, { from: n, to: n, width: 64 }),
        own
      )
    }
    expect(share("aligned")).toBe(1)
    expect(share("random")).toBeLessThan(0.5)
  })

  it("LDLM's encoder and decoder carry each token's state to its own place", () => {
    const config = modelConfig({ hiddenSize: 64, layers: 2, vocabSize: 20 })
    const architecture = Schema.decodeUnknownSync(LdlmArchitecture)({
      seqLen: n,
      depth: 1,
      heads: 2,
      decoderNumLayers: 1,
      diffusionHeadDepth: 1
    })
    const share = (start: LatentStart): number => {
      const specs = ldlmSpecs(architecture, config, start)
      const values = valuesOf(specs)
      const networks = ldlm(architecture, config, weightsOf(specs))
      const seen = input("seen", "bool", [1, n])
      const states = networks.decode(networks.encode(input("x", "f32", [1, n, 64]), seen))
      const answer = (x: Float32Array) =>
        evaluateTensors({ states }, { ...values, x, seen: new Uint8Array(n).fill(1) })["states"]!
      return agreeing(movedMost(answer, { from: n, to: n, width: 64 }), own)
    }
    expect(share("aligned")).toBe(1)
    expect(share("random")).toBeLessThan(0.5)
  })

  it("Cola's locals tell each token to the state before it", () => {
    const config = modelConfig({ hiddenSize: 128, layers: 2, vocabSize: 20 })
    const architecture = Schema.decodeUnknownSync(ColaArchitecture)({
      colaNumGlobal: 2,
      colaNumLocal: 8,
      colaEncoderDepth: 1,
      colaDiffusionDepth: 1,
      colaDecoderLayers: 1,
      colaHeads: 2,
      colaMaxLength: n
    })
    const share = (colaLatentStart: LatentStart): number => {
      const specs = colaSpecs(architecture, config, { colaLatentStart, colaStartSigma: 0.1 }).map(spec =>
        // The decoder begins with saying nothing: here it says what it has read.
        spec.name === "cola.decoder.output.weight" ? { ...spec, initial: { normal: 0.1 } } : spec
      )
      const values = valuesOf(specs)
      const networks = cola(architecture, config, weightsOf(specs), n)
      const [seen, at] = [input("seen", "bool", [1, n]), input("at", "i32", [1, n])]
      const { mean } = networks.distribution(networks.encode(input("x", "f32", [1, n, 128]), { seen, at }))
      const told = networks.decode(input("masked", "f32", [1, n, 128]), mean, at)
      const fixed = { seen: new Uint8Array(n).fill(1), at: own, masked: normals(randomKey(4, "masked"), n * 128) }
      const answer = (x: Float32Array) => evaluateTensors({ told }, { ...values, ...fixed, x })["told"]!
      const tokens = own.slice(1)
      return agreeing(
        movedMost(answer, { from: n, to: n, width: 128 }, tokens),
        tokens.map(token => token - 1)
      )
    }
    expect(share("aligned")).toBe(1)
    expect(share("random")).toBeLessThan(0.5)
  })

  it("cannot be aligned without positions", () => {
    const shape = { width: 8, contextWidth: 8, latents: 4, depth: 1, heads: 2 }
    expect(() => perceiverSpecs(shape, { vectorsAre: "latents" })).toThrow("needs learned positions")
  })
})
