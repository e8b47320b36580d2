/** Caches a teacher's hidden states, to which a diffusion model that comes from it can be aligned. */
import { Effect, Schema } from "effect"
import { encodeFloats } from "../src/data/floats.ts"
import { asStageError } from "../src/data/obtain.ts"
import { allSequences } from "../src/data/sequencesOfArtifact.ts"
import { anchorKey, anchorMaterial, type AnchorNote } from "../src/diffusion/anchors.ts"
import { makeEngine } from "../src/engines/make.ts"
import { filesOf, openModel } from "../src/models/artifact.ts"
import { parameterAliases, parameterSpecs } from "../src/models/config.ts"
import { allocateParameters } from "../src/models/parameters.ts"
import { makeStates } from "../src/models/states.ts"
import { loadWeights } from "../src/models/weights.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { permanent, StageError } from "../src/pipeline/StageError.ts"
import { Anchors, ModelFiles, TokenSequences } from "./kinds.ts"

/** Rows of a pass. */
const rows = 4

export const anchor = Stage.make("anchor", {
  description: "Caches a teacher's hidden states of token sequences",
  inputs: { teacher: ModelFiles, sequences: TokenSequences },
  parameters: Schema.Struct({
    /** 0 is the embedding, 1 the output of the first layer, before any norm; `all` of them. */
    layers: Schema.Union([
      Schema.Literal("all"),
      Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
    ]).pipe(Schema.withDecodingDefaultKey(Effect.succeed("all" as const)))
  }),
  outputs: { anchors: Anchors },
  // An item is one layer of one sequence: another layer, or a document more, computes only what is missing.
  items: { inputs: ["teacher"], parameters: [] },
  engine: true,
  resources: { cpus: 2, memoryMiB: 2048 },
  run: Effect.fn("anchor")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { anchors } = outputs
      const { config, tensors, tokenizer } = yield* openModel(yield* filesOf(inputs.teacher))
      const layers =
        parameters.layers === "all" ? Array.from({ length: config.layers + 1 }, (_, i) => i) : parameters.layers
      const wrong = layers.find(layer => layer > config.layers)
      if (wrong !== undefined)
        return yield* permanent(
          `layers names layer ${wrong}; the teacher has layers 1 to ${config.layers}, and the embedding, 0`
        )
      const sequences = (yield* allSequences(inputs.sequences)).map(({ ids }) => ids)
      const keys = sequences.map(ids => layers.map(layer => anchors.key(anchorMaterial(ids, layer))))
      const missing = [...sequences.keys()].filter(i => keys[i]!.some(key => !anchors.has(key)))
      // Layers that all of them have need not be computed.
      const wanted = layers.filter((_, l) => missing.some(i => !anchors.has(keys[i]![l]!)))
      yield* metric("sequences/new", missing.length)
      yield* metric("sequences/reused", sequences.length - missing.length)
      if (missing.length > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const buffers = yield* allocateParameters(engine, parameterSpecs(config))
        yield* loadWeights(engine, buffers, tensors, parameterAliases(config))
        const states = yield* makeStates(engine, config, buffers.views, {
          rows,
          length: inputs.sequences.metadata.maxSeqLen,
          causal: true,
          pad: tokenizer.padId,
          layers: wanted
        })
        let done = 0
        yield* states(
          missing.map(i => sequences[i]!),
          (n, computed) =>
            Effect.gen(function* () {
              const ids = sequences[missing[n]!]!
              for (const [w, layer] of wanted.entries()) {
                const note: AnchorNote = { sequence: anchorKey(ids), layer, tokens: ids.length }
                const bytes = encodeFloats("BF16", Float32Array.from(computed[w]!))
                yield* anchors.put(keys[missing[n]!]![layers.indexOf(layer)]!, bytes, { ...note })
              }
              yield* progress({ done: ++done, total: missing.length, unit: "sequences" })
            })
        )
      }
      yield* anchors.finish(keys.flat(), {
        sequences: sequences.length,
        tokens: sequences.reduce((sum, { length }) => sum + length, 0),
        hiddenSize: config.hiddenSize,
        numHiddenLayers: config.layers,
        layers
      })
    },
    Effect.scoped,
    Effect.mapError(error => (error instanceof StageError ? error : asStageError(error)))
  )
})
