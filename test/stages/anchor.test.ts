/** The cache of a teacher's states, and a training that is aligned with it. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, Result, Stream } from "effect"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { encodeFloats } from "../../src/formats/floats.ts"
import { anchorKey, type AnchorNote, encodeIds, readAnchors } from "../../src/methods/shared/anchors/anchors.ts"
import { numericClass } from "../../src/engines/names.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import { anchor } from "../../stages/anchor.ts"
import { downloadModel } from "../../stages/download.ts"
import { train } from "../../stages/train.ts"
import { runPipeline, temporaryDirectory } from "../support/inProcess.ts"
import { documentTexts, tokenizedTexts, writeTexts } from "../support/tinyCorpus.ts"
import { writeTinyModel } from "../support/tinyModel.ts"

const assets = fileURLToPath(new URL("../../assets", import.meta.url))

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(async () => {
  directory = temporaryDirectory()
  await writeTinyModel(join(directory.path, "tiny"))
})
afterEach(() => directory.remove())

interface Options {
  readonly documents?: number
  readonly layers?: "all" | ReadonlyArray<number>
  readonly execution?: "resident" | "layerwise"
  readonly train?: { readonly repr_align_wt: number; readonly align_layers?: string }
  /** Whether the training gets the anchors. */
  readonly connected?: boolean
  readonly steps?: number
}

const run = ({
  connected = true,
  documents = 6,
  execution = "resident",
  layers = "all",
  steps = 2,
  train: aligned
}: Options = {}) => {
  const corpus = writeTexts(
    directory.path,
    documentTexts(documents, i => 1 + i)
  )
  const pipeline = Pipeline.make(
    "anchor-test",
    { description: "", profiles: { only: { description: "", needs: "nothing", make: () => undefined } } },
    () => {
      const teacher = downloadModel({ source: `file:${join(directory.path, "tiny")}` })
      const sequences = tokenizedTexts(corpus, 24)
      const anchors = anchor({ teacher, sequences, layers, execution })
      if (aligned === undefined) return anchors
      return {
        anchors,
        model: train({
          base: teacher,
          sequences,
          heldOut: sequences,
          ...(connected ? { anchors } : {}),
          num_train_epochs: 100,
          max_steps: steps,
          global_batch_size: 2,
          lr: 0.01,
          eval_every: 1000,
          eval_draws: 2,
          ...aligned
        }).model
      }
    }
  )
  return runPipeline(pipeline, {
    cache: join(directory.path, "cache"),
    layers: [assets],
    engine: numericClass("ort")
  })
}

describe("the key of an anchor", () => {
  it("is the field's: SHA-256 of the ids as 64-bit integers, 16 digits", () => {
    assert.strictEqual(anchorKey([1, 2, 3]), "e2e2033ae7e19d68")
    assert.strictEqual(anchorKey(Int32Array.of(1, 2, 3)), "e2e2033ae7e19d68")
    assert.notStrictEqual(anchorKey([1, 2, 4]), anchorKey([1, 2, 3]))
  })
})

/** A set of anchors with one layer of two numbers a token, as a stage would be handed it. */
const setOf = (sequences: ReadonlyArray<{ readonly ids: ReadonlyArray<number>; readonly key?: string }>) => {
  const item = (note: AnchorNote, bytes: Uint8Array) => ({
    key: sha256(JSON.stringify(note)),
    note: { ...note },
    size: bytes.length,
    bytes: Effect.succeed(bytes)
  })
  const items = sequences.flatMap(({ ids, key = anchorKey(ids) }) => {
    const note = { sequence: key, tokens: ids.length }
    const states = Float32Array.from({ length: 2 * ids.length }, (_, i) => ids[Math.floor(i / 2)]! + (i % 2) / 2)
    return [item(note, encodeIds(ids)), item({ ...note, layer: 3 }, encodeFloats("BF16", states))]
  })
  const metadata = { hiddenSize: 2, layers: [3] }
  return { digest: sha256("set"), metadata, count: items.length, items: Stream.fromIterable(items) }
}
const read = (set: ReturnType<typeof setOf>, sequences: ReadonlyArray<ReadonlyArray<number>>) =>
  Effect.runSync(Effect.result(readAnchors(set, sequences, [3], 2)))

describe("reading anchors", () => {
  it("finds the states of each sequence, whatever their order", () => {
    const states = Result.getOrThrow(
      read(setOf([{ ids: [5, 6] }, { ids: [1, 2, 3] }]), [
        [1, 2, 3],
        [5, 6]
      ])
    )
    assert.deepStrictEqual([...states(0, 3)], [1, 1.5, 2, 2.5, 3, 3.5])
    assert.deepStrictEqual([...states(1, 3)], [5, 5.5, 6, 6.5])
  })

  it("names key and length of what is missing, and tells a sequence from another under its key", () => {
    const miss = read(setOf([{ ids: [5, 6] }]), [
      [5, 6],
      [1, 2, 3]
    ])
    assert.include(
      Result.getOrThrow(Result.flip(miss)).message,
      "there is no anchor of sequence 1 (3 tokens, key e2e2033ae7e19d68) at layer 3"
    )
    const collision = read(setOf([{ ids: [7, 8, 9], key: "e2e2033ae7e19d68" }]), [[1, 2, 3]])
    assert.include(Result.getOrThrow(Result.flip(collision)).message, "are those of another sequence")
  })
})

describe("the stage anchor", () => {
  it("makes the same of a teacher that it reads layer by layer", async () => {
    const resident = await run()
    const layerwise = await run({ execution: "layerwise" })
    assert.deepStrictEqual(layerwise.failures, [])
    assert.isAbove(layerwise.metric("anchor", "sequences/new")!, 6)
    assert.deepStrictEqual(layerwise.manifest("anchor"), resident.manifest("anchor"))
  })

  it("computes each layer of each sequence once: nothing again, and of a document or layer more only that", async () => {
    const first = await run({ layers: [1, 2] })
    assert.deepStrictEqual(first.failures, [])
    const all = first.metric("anchor", "sequences/new")!
    assert.isAbove(all, 6)
    assert.include(first.manifest("anchor").metadata as object, { hiddenSize: 8, numHiddenLayers: 2, sequences: all })
    assert.strictEqual((await run({ layers: [1, 2] })).executed, 0)

    const more = await run({ layers: [1, 2], documents: 7 })
    // The new document may begin or end like an old one.
    assert.isAtLeast(more.metric("anchor", "sequences/reused")!, all)
    assert.isAbove(more.metric("anchor", "sequences/new")!, 0)
    const layer = await run({ layers: [0, 1, 2], documents: 7 })
    assert.strictEqual(layer.metric("anchor", "sequences/reused"), 0)
    const fewer = await run({ layers: [2] })
    assert.strictEqual(fewer.metric("anchor", "sequences/new"), 0)
  })

  it("refuses layers that the teacher does not have", async () => {
    const { failures } = await run({ layers: [3] })
    assert.match(failures[0]!.message, /layers names layer 3; the teacher has layers 1 to 2, and the embedding, 0/)
  })
})

describe("a training with anchors", () => {
  it("is another training than one without", async () => {
    const aligned = await run({ train: { repr_align_wt: 5 }, steps: 6 })
    assert.deepStrictEqual(aligned.failures, [])
    const alone = await run({ train: { repr_align_wt: 0 }, steps: 6 })
    const weights = (ran: typeof aligned) =>
      ran.manifest("train").files.find(({ path }) => path === "model.safetensors")!.sha256
    assert.notStrictEqual(weights(aligned), weights(alone))
  })

  it("says what is missing: layers, sequences", async () => {
    const layer = await run({ layers: [1], train: { repr_align_wt: 1 } })
    assert.match(layer.failures[0]!.message, /the anchors hold layers 1, not 2/)
    const none = await run({ train: { repr_align_wt: 1, align_layers: "5" } })
    assert.match(
      none.failures[0]!.message,
      /train\.align_layers: there is no layer 5 to align; the model has layers 1 to 2/
    )
  })
})
