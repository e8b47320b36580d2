/**
 * How fast anchors are written, beside a plain write of the same bytes in the same run; and how long it takes to find out that nothing is missing among
 * 100,000 cached sequences. Run: `node bench/anchors.ts [ITEMS] [SEQUENCES]`.
 */
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { table } from "../src/cli/terminal/style.ts"
import { anchorKey, anchorMaterials, encodeIds } from "../src/methods/shared/anchors/anchors.ts"
import type { Digest } from "../src/pipeline/Digest.ts"
import type { ChunkWriter } from "../src/pipeline/StageContext.ts"
import type { Request } from "../src/runner/Request.ts"
import { outputWriter } from "../src/runner/Writers.ts"
import { nodeDisk } from "../src/store/NodeDisk.ts"
import * as Store from "../src/store/Store.ts"
import { Anchors } from "../src/artifacts/kinds.ts"

const items = Number(process.argv[2] ?? 1000)
const sequences = Number(process.argv[3] ?? 100_000)
const rounds = 3
/** 256 tokens of a model that is 192 wide, in bfloat16. */
const itemBytes = 256 * 192 * 2
const layer = 1
const metadata = { sequences: 0, tokens: 0, hiddenSize: 192, numHiddenLayers: 8, layers: [layer] }

const folder = mkdtempSync(join(tmpdir(), "pipeline-anchors-"))
const root = join(folder, "cache")
const store = Store.make({ root, disk: nodeDisk, layers: [] })
let attempts = 0

/** A writer as the stage `anchor` is handed it, in an action of its own. */
const writer = (candidates: ReadonlyArray<Digest>) => {
  const own = join(root, `attempt-${++attempts}`)
  for (const part of ["staging", "scratch", "checkpoint"]) mkdirSync(join(own, part), { recursive: true })
  const request: Request = {
    version: 1,
    key: "0".repeat(64),
    label: "anchor",
    attempt: 1,
    stage: { name: "anchor", module: "", export: "anchor" },
    parameters: {},
    inputs: [],
    candidates: { anchors: candidates },
    checked: [],
    store: { root, layers: [] },
    engine: "none",
    staging: join(own, "staging"),
    scratch: join(own, "scratch"),
    checkpoint: join(own, "checkpoint"),
    slots: { cpus: 1, memoryMiB: 0, gpus: [] }
  }
  return Effect.map(
    outputWriter({ store, disk: nodeDisk, kind: Anchors, port: "anchors", request }),
    ({ finish, writer: chunks }) => ({
      finish,
      chunks: chunks as unknown as ChunkWriter<typeof metadata>
    })
  )
}

const seconds = (since: number): number => (performance.now() - since) / 1000
const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

/** Writes and syncs some files, as a program would that keeps no record of them. */
const plainWrite = (directory: string, payloads: ReadonlyArray<Uint8Array>, files: number): number => {
  mkdirSync(directory)
  const begun = performance.now()
  const perFile = payloads.length / files
  for (let i = 0; i < files; i++) {
    const file = openSync(join(directory, String(i)), "w")
    for (const payload of payloads.slice(i * perFile, (i + 1) * perFile)) writeSync(file, payload)
    fsyncSync(file)
    closeSync(file)
  }
  return seconds(begun)
}

const writing = Effect.gen(function* () {
  const times = { ours: [] as Array<number>, oneFile: [] as Array<number>, files: [] as Array<number> }
  for (let round = 0; round < rounds; round++) {
    const payloads = Array.from({ length: items }, (_, i) => {
      const payload = new Uint8Array(itemBytes).fill(i % 251)
      new DataView(payload.buffer).setUint32(0, round * items + i)
      return payload
    })
    times.oneFile.push(plainWrite(join(folder, `one-${round}`), payloads, 1))
    times.files.push(plainWrite(join(folder, `files-${round}`), payloads, items))
    const begun = performance.now()
    const { chunks, finish } = yield* writer([])
    const keys: Array<Digest> = []
    for (const [i, payload] of payloads.entries()) {
      const key = chunks.key(anchorMaterials([round, i], [layer]).layers[0]!)
      yield* chunks.put(key, payload, { sequence: anchorKey([round, i]), tokens: 256, layer })
      keys.push(key)
    }
    yield* chunks.finish(keys, metadata)
    yield* store.publish((yield* finish).staged)
    times.ours.push(seconds(begun))
  }
  const megabytes = (items * itemBytes) / 1e6
  return {
    megabytes,
    oursSeconds: median(times.ours),
    plainFilesSeconds: median(times.files),
    plainOneFileSeconds: median(times.oneFile)
  }
})

const deciding = Effect.gen(function* () {
  const ids = Array.from({ length: sequences }, (_, i) =>
    Int32Array.from({ length: 32 }, (_token, t) => ((i * 7 + t) % 2048) ^ i)
  )
  /** What the stage does to find out what is missing. */
  const missing = (chunks: ChunkWriter<typeof metadata>) => {
    const keys = ids.map(sequence => {
      const materials = anchorMaterials(sequence, [layer])
      return [chunks.key(materials.ids), chunks.key(materials.layers[0]!)] as const
    })
    return { keys, absent: keys.filter(own => !own.every(key => chunks.has(key))).length }
  }
  const first = yield* writer([])
  const { keys } = missing(first.chunks)
  for (const [i, [idKey, layerKey]] of keys.entries()) {
    const note = { sequence: anchorKey(ids[i]!), tokens: 32 }
    yield* first.chunks.put(idKey, encodeIds(ids[i]!), note)
    yield* first.chunks.put(layerKey, new Uint8Array(64).fill(i % 251), { ...note, layer })
  }
  yield* first.chunks.finish(keys.flat(), metadata)
  const written = yield* first.finish
  yield* store.publish(written.staged)
  const times: Array<number> = []
  const processorTimes: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now()
    const before = process.cpuUsage()
    const { chunks } = yield* writer([written.digest])
    const { absent } = missing(chunks)
    times.push(seconds(begun))
    const { system, user } = process.cpuUsage(before)
    processorTimes.push((user + system) / 1e6)
    if (absent !== 0) return yield* Effect.die(new Error(`${absent} of ${sequences} sequences were not found again`))
  }
  return { sequences, items: 2 * sequences, decideSeconds: median(times), processorSeconds: median(processorTimes) }
})

try {
  const wrote = await Effect.runPromise(writing)
  const decided = await Effect.runPromise(deciding)
  const rate = (duration: number): string => `${(wrote.megabytes / duration).toFixed(0)} MB/s`
  console.log(
    table(
      [
        ["", "seconds", "rate"],
        ["a set of anchors", wrote.oursSeconds.toFixed(2), rate(wrote.oursSeconds)],
        ["plain files, as many", wrote.plainFilesSeconds.toFixed(2), rate(wrote.plainFilesSeconds)],
        ["one plain file", wrote.plainOneFileSeconds.toFixed(2), rate(wrote.plainOneFileSeconds)]
      ],
      new Set([1, 2])
    )
  )
  console.log(
    `${decided.sequences} cached sequences: nothing missing, found out in ${decided.decideSeconds.toFixed(2)} s (${decided.processorSeconds.toFixed(2)} s of a processor)`
  )
  const output = fileURLToPath(new URL("results/", import.meta.url))
  mkdirSync(output, { recursive: true })
  writeFileSync(
    join(output, "anchors.json"),
    `${JSON.stringify({ measured: new Date().toISOString().slice(0, 10), node: process.version, cpu: cpus()[0]?.model ?? "unknown", rounds, itemBytes, items, writing: wrote, deciding: decided }, null, 2)}\n`
  )
} finally {
  rmSync(folder, { recursive: true, force: true })
}
