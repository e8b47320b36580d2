/** Stages that read a large object in every way, for tests of what becomes of wrong bytes. */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, Schema, Stream } from "effect"
import * as Artifact from "../../src/pipeline/Artifact.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"
import * as Pipeline from "../../src/pipeline/Pipeline.ts"
import * as Stage from "../../src/pipeline/Stage.ts"
import { StageError } from "../../src/pipeline/StageError.ts"

/** What a test does at a point of a stage, while it runs in the test's own process. */
export const hooks: { reading?: ((path: string) => void | Promise<void>) | undefined } = ((
  globalThis as { integrityHooks?: object }
).integrityHooks ??= {})

export const Blob = Artifact.kind("blob", { description: "many bytes", metadata: Schema.Struct({}) })
export const Note = Artifact.kind("note", { description: "a few words", metadata: Schema.Struct({}) })
export const Notes = Artifact.chunkSet("notes", { description: "notes by key", metadata: Schema.Struct({}) })

export const size = 3 * 1024 * 1024

export const blob = Stage.make("blob", {
  inputs: {},
  parameters: Schema.Struct({}),
  outputs: { blob: Blob },
  run: Effect.fn("blob")(function* ({ outputs }) {
    yield* outputs.blob.write(
      "bytes",
      Uint8Array.from({ length: size }, (_, i) => i % 251)
    )
    yield* outputs.blob.metadata({})
  })
})

const valueOf = (bytes: Uint8Array): number => bytes.reduce((sum, byte) => (sum + byte) % 1_000_003, 0)

export const read = Stage.make("read", {
  inputs: { blob: Blob },
  parameters: Schema.Struct({
    seed: Schema.Int,
    way: Schema.Literals(["path", "bytes", "blind"]),
    /** Keep the value for the next attempt, and fail once. */
    stumble: Schema.Boolean.pipe(Schema.withDecodingDefaultKey(Effect.succeed(false)))
  }),
  outputs: { note: Note },
  run: Effect.fn("read")(function* ({ checkpoint, inputs, outputs, parameters: { seed, stumble, way } }) {
    const path = yield* inputs.blob.path("bytes")
    const kept = join(checkpoint, "value")
    const value = existsSync(kept)
      ? Number(readFileSync(kept, "utf8"))
      : valueOf(way === "bytes" ? yield* inputs.blob.bytes("bytes") : readFileSync(path))
    yield* Effect.promise(async () => hooks.reading?.(path))
    if (stumble && !existsSync(kept)) {
      writeFileSync(kept, String(value))
      return yield* new StageError({ class: "permanent", message: "stumbled" })
    }
    yield* outputs.note.write("value", way === "blind" ? "blind" : `${seed} ${value}`)
    yield* outputs.note.metadata({})
  })
})

/** Its items depend on the blob, but are not keyed by it: an earlier set may lend them. */
export const list = Stage.make("list", {
  inputs: { blob: Blob },
  parameters: Schema.Struct({ count: Schema.Int }),
  outputs: { notes: Notes },
  items: { inputs: ["blob"], parameters: [] },
  run: Effect.fn("list")(function* ({ inputs, outputs, parameters: { count } }) {
    const value = valueOf(readFileSync(yield* inputs.blob.path("bytes")))
    const keys = Array.from({ length: count }, (_, i) => outputs.notes.key(String(i)))
    for (const [i, key] of keys.entries())
      if (!outputs.notes.has(key)) yield* outputs.notes.put(key, Buffer.from(`${i} ${value}`))
    yield* outputs.notes.finish(keys, {})
  })
})

export const collect = Stage.make("collect", {
  inputs: { notes: Artifact.many(Note) },
  parameters: Schema.Struct({}),
  outputs: { note: Note },
  run: Effect.fn("collect")(function* ({ inputs, outputs }) {
    const texts = yield* Effect.forEach(inputs.notes, note => note.text("value"))
    yield* outputs.note.write("value", texts.join(", "))
    yield* outputs.note.metadata({})
  })
})

export const recite = Stage.make("recite", {
  inputs: { notes: Notes },
  parameters: Schema.Struct({}),
  outputs: { note: Note },
  run: Effect.fn("recite")(function* ({ inputs, outputs }) {
    const items = yield* Stream.runCollect(inputs.notes.items)
    const texts = yield* Effect.forEach(items, item => Effect.map(item.bytes, bytes => Buffer.from(bytes).toString()))
    yield* outputs.note.write("value", texts.join(", "))
    yield* outputs.note.metadata({})
  })
})

export type Way = "path" | "bytes" | "blind"

const profiles = { only: { description: "", needs: "nothing", make: () => undefined } } as const

/** Reads the blob in some ways; `collect` is of all of them. */
export const readings = (of: ReadonlyArray<readonly [seed: number, way: Way]>, stumble = false, name = "readings") =>
  Pipeline.make(name, { description: "", profiles }, () => {
    const from = blob({})
    return {
      all: collect({ notes: of.map(([seed, way]) => read({ name: `${way}-${seed}`, blob: from, seed, way, stumble })) })
    }
  })

/** Sets of some lengths, all of one family. */
export const lists = (counts: ReadonlyArray<number>) =>
  Pipeline.make("lists", { description: "", profiles }, () => {
    const from = blob({})
    return Object.fromEntries(
      counts.map(count => [
        `to-${count}`,
        recite({ name: `to-${count}`, notes: list({ name: `to-${count}`, blob: from, count }) })
      ])
    )
  })

const bytes = Uint8Array.from({ length: size }, (_, i) => i % 251)
export const rightValue = valueOf(bytes)
export const digestOfBlob = sha256(bytes)
