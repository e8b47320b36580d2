/** Caches a teacher's hidden states, to which a diffusion model that comes from it can be aligned. */
import { Effect, Schema } from "effect"
import { encodeFloats } from "../src/formats/floats.ts"
import { allSequences } from "../src/artifacts/sequences.ts"
import { anchorKey, anchorMaterials, type AnchorNote, encodeIds } from "../src/methods/shared/anchors/anchors.ts"
import { setting } from "../src/config/setting.ts"
import { makeEngine } from "../src/engines/make.ts"
import { filesOf, loadParameters, openModel } from "../src/models/artifact.ts"
import { computeHiddenStates, residentStates } from "../src/sessions/hiddenStates.ts"
import { layerwiseStates } from "../src/sessions/layerwise.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { Anchors, ModelFiles, TokenSequences } from "../src/artifacts/kinds.ts"

/** Of a pass, by execution: where every pass reads all weights anew, it is to be worth it. */
const tokensPerPass = { resident: 1024, layerwise: 8192 }

export const anchor = Stage.make("anchor", {
  inputs: { teacher: ModelFiles, sequences: TokenSequences },
  parameters: Schema.Struct({
    /** 0 is the embedding, 1 the output of the first layer, before any norm; `all` of them. */
    layers: Schema.Union([
      Schema.Literal("all"),
      Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
    ]).pipe(Schema.withDecodingDefaultKey(Effect.succeed("all" as const))),
    /** `layerwise` holds the weights of two layers at a time: for teachers larger than memory. */
    execution: setting(Schema.Literals(["resident", "layerwise"]), "resident")
  }),
  outputs: { anchors: Anchors },
  // An item is one layer of one sequence: another layer, or a document more, computes only what is missing.
  items: { inputs: ["teacher"], parameters: ["execution"] },
  engine: true,
  resources: { cpus: 2, memoryMiB: 2048 },
  run: Effect.fn("anchor")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { anchors } = outputs
      const teacher = yield* openModel(yield* filesOf(inputs.teacher))
      const { config } = teacher
      const layers =
        parameters.layers === "all" ? Array.from({ length: config.layers.length + 1 }, (_, i) => i) : parameters.layers
      const wrong = layers.find(layer => layer > config.layers.length)
      if (wrong !== undefined)
        return yield* permanent(
          `layers names layer ${wrong}; the teacher has layers 1 to ${config.layers.length}, and the embedding, 0`
        )
      const sequences = (yield* allSequences(inputs.sequences)).map(({ ids }) => ids)
      const keys = sequences.map(ids => {
        const materials = anchorMaterials(ids, layers)
        return { ids: anchors.key(materials.ids), layers: materials.layers.map(anchors.key) }
      })
      const complete = ({ ids, layers: own }: (typeof keys)[number]): boolean =>
        anchors.has(ids) && own.every(anchors.has)
      // Of sequences that are alike, one is enough.
      const missing = new Map([...keys.entries()].filter(([, key]) => !complete(key)).map(([i, key]) => [key.ids, i]))
      yield* metric("sequences/new", missing.size)
      yield* metric("sequences/reused", new Set(keys.map(({ ids }) => ids)).size - missing.size)
      const numbers = [...missing.values()]
      // Layers that all of them have need not be computed.
      const wanted = [...layers.keys()].filter(l => numbers.some(i => !anchors.has(keys[i]!.layers[l]!)))
      if (numbers.length > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const { execution } = parameters
        const states =
          execution === "layerwise"
            ? layerwiseStates(engine, teacher)
            : residentStates(engine, config, yield* loadParameters(engine, teacher))
        let done = 0
        const keep = (n: number, computed: ReadonlyArray<Float32Array<ArrayBuffer>>) =>
          Effect.gen(function* () {
            const ids = sequences[numbers[n]!]!
            const key = keys[numbers[n]!]!
            const note = { sequence: anchorKey(ids), tokens: ids.length } satisfies AnchorNote
            yield* anchors.put(key.ids, encodeIds(ids), note)
            for (const [w, l] of wanted.entries())
              if (!anchors.has(key.layers[l]!))
                yield* anchors.put(key.layers[l]!, encodeFloats("BF16", computed[w]!), { ...note, layer: layers[l]! })
            yield* progress({ done: ++done, total: numbers.length, unit: "sequences" })
          })
        yield* computeHiddenStates(
          config,
          states,
          {
            causal: true,
            pad: teacher.tokenizer.padId,
            layers: wanted.map(l => layers[l]!),
            tokensPerPass: tokensPerPass[execution]
          },
          numbers.map(i => sequences[i]!),
          keep
        )
      }
      const order = new Set(keys.flatMap(key => [key.ids, ...key.layers]))
      yield* anchors.finish([...order], {
        sequences: sequences.length,
        tokens: sequences.reduce((sum, { length }) => sum + length, 0),
        hiddenSize: config.hiddenSize,
        numHiddenLayers: config.layers.length,
        layers
      })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
