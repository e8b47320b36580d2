/** Stores some bytes below a folder and prints how that went, as JSON; for folders that a test's own process cannot have. */
import { join } from "node:path"
import { Effect } from "effect"
import { sha256 } from "../../src/pipeline/Digest.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import { make } from "../../src/store/Store.ts"
import { StorageError } from "../../src/store/StorageError.ts"
import { bytesOf, stagedAs } from "./storeSetup.ts"

export interface Probe {
  readonly put: string
  readonly message: string
  readonly free: number | undefined
  readonly needed: number | undefined
  readonly advice: string
  /** Whether what had been stored before is still sound. */
  readonly earlier: string
  readonly publish: string
  /** Files in `tmp/` and the staged file, afterwards. */
  readonly left: ReadonlyArray<string>
}

const [, , folder = "", size = "0", script = ""] = process.argv

const outcome = (error: { readonly _tag: string } | undefined) =>
  error === undefined ? "ok" : error instanceof StorageError ? error.code : error._tag

const program = Effect.gen(function* () {
  const store = make({ root: join(folder, "cache"), disk: nodeDisk })
  const earlier = bytesOf(1000, 5)
  if (script === "prepare") {
    yield* store.put(earlier)
    return
  }
  const put = yield* Effect.result(store.put(bytesOf(Number(size))))
  const error = put._tag === "Failure" ? put.failure : undefined
  const read = yield* Effect.result(store.read(sha256(earlier)))

  const staged = join(folder, "staged.bin")
  const content = yield* Effect.result(nodeDisk.read(staged))
  const publish = yield* Effect.result(
    store.publish(content._tag === "Success" ? [stagedAs(staged, content.success)] : [])
  )
  const tmp = yield* Effect.orElseSucceed(nodeDisk.readdir(join(folder, "cache", "tmp")), () => [])
  const above = yield* Effect.orElseSucceed(nodeDisk.readdir(folder), () => [])
  const probe: Probe = {
    put: outcome(error),
    message: error?.message ?? "",
    free: error?.free,
    needed: error?.needed,
    advice: error?.advice ?? "",
    earlier: read._tag === "Success" ? "sound" : outcome(read.failure),
    publish: publish._tag === "Failure" ? outcome(publish.failure) : `added ${publish.success.added}`,
    left: [...tmp, ...above.filter(entry => entry.name.startsWith("staged"))].map(entry => entry.name)
  }
  process.stdout.write(JSON.stringify(probe))
})

await Effect.runPromise(program)
