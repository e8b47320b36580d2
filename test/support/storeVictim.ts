/** A program that does everything a store can do, to be killed at any point of it, and to be run again. */
import * as fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Faults from "../../src/store/Faults.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { make } from "../../src/store/Store.ts"
import type { Staged } from "../../src/store/Writing.ts"
import { bytesOf, objectAt, stagedAs } from "./storeSetup.ts"

export const small = bytesOf(1000, 1)
export const large = bytesOf(2_500_000, 2)
export const piecewise = bytesOf(3000, 3)
export const outputs = Array.from({ length: 5 }, (_, i) => bytesOf(2000 + i, 10 + i))
export const discarded = bytesOf(1234, 30)
export const fragile = bytesOf(4321, 40)

export const everything = [small, large, piecewise, ...outputs, discarded, fragile]

export const oldText = "what the user had before"

/** Runs all of it below `folder`; `report` is called with the name of each step that was completed. */
export const scenario = Effect.fnUntraced(function* (
  folder: string,
  faults: Faults.Faults,
  report: (step: string) => void
) {
  const store = make({ root: join(folder, "deep", "cache"), disk: nodeDisk, faults })
  const done = (step: string) => Effect.sync(() => report(step))

  yield* store.put(small)
  yield* done("small")
  yield* store.put(large)
  yield* done("large")
  yield* store.put(
    (async function* () {
      for (let i = 0; i < piecewise.length; i += 1000) yield piecewise.subarray(i, i + 1000)
    })()
  )
  yield* done("piecewise")

  // What an action does: its files, one of them twice, one that the store has already.
  const directory = join(folder, "action")
  fs.mkdirSync(directory, { recursive: true })
  const staged: Array<Staged> = [...outputs, outputs[0]!, small].map((bytes, i) => {
    const path = join(directory, `${i}`)
    // A killed attempt may have left it read-only.
    fs.rmSync(path, { force: true })
    fs.writeFileSync(path, bytes)
    return stagedAs(path, bytes)
  })
  yield* store.publish(staged)
  yield* done("publish")

  const { sha256: fragileDigest } = yield* store.put(fragile)
  const path = objectAt(store.root, fragileDigest)
  fs.chmodSync(path, 0o644)
  fs.writeFileSync(path, fragile.toReversed())
  yield* Effect.flip(store.read(fragileDigest))
  yield* store.put(fragile)
  yield* done("fragile")

  const out = join(folder, "out.bin")
  yield* store.materialise(sha256(large), out)
  yield* done("materialise")
  yield* store.materialise(sha256(small), join(folder, "linked.bin"), { mode: "hardlink" })
  yield* done("hardlink")

  yield* store.put(discarded)
  yield* done("discarded")
  yield* store.trash([sha256(discarded)])
  yield* store.restoreFromTrash(sha256(discarded))
  yield* done("restored")
})

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await Effect.runPromise(
    scenario(process.argv[2]!, Faults.fromEnvironment(process.env), step => {
      fs.writeSync(1, `${step}\n`)
    })
  )
}
