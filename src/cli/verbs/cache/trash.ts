/** `pipeline cache trash`: what collections moved out of the store, getting it back, and deleting it for good. */
import { Clock, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { markPresent } from "../../../ledger/Collection.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../../pipeline/Digest.ts"
import { ago, bytes } from "../../../pipeline/units.ts"
import { pathsOf } from "../../../runner/Cache.ts"
import { nodeDisk } from "../../../store/NodeDisk.ts"
import { decodePage } from "../../../store/Pages.ts"
import * as Store from "../../../store/Store.ts"
import { parseDuration, plural } from "../../text/amounts.ts"
import { artifactOf } from "../../artifacts.ts"
import * as flags from "../../flags.ts"
import { attempt, nothingYet, openMaintenance } from "../../maintenance.ts"
import { table } from "../../terminal/style.ts"
import { emptyTrash } from "../../trash.ts"
import { stdout } from "../../terminal/terminal.ts"

export const trash = Command.make(
  "trash",
  {
    restore: Flag.String("restore").pipe(
      Flag.withDescription("Bring an artifact back into the store"),
      Flag.withMetavar("REF"),
      Flag.optional
    ),
    empty: Flag.Boolean("empty").pipe(Flag.withDescription("Delete it all for good"), Flag.withDefault(false)),
    olderThan: Flag.String("older-than").pipe(
      Flag.withDescription("With --empty: only what was moved there longer ago than this, such as 7d"),
      Flag.withMetavar("AGE"),
      Flag.optional
    ),
    cache: flags.cache,
    json: flags.json
  },
  Effect.fn("cache trash")(function* (args) {
    const location = flags.locationOf(args.cache)
    if (args.empty && Option.isSome(args.restore))
      return yield* new ConfigError({ message: "only one of --restore and --empty may be given" })
    if (args.empty) {
      const olderThanMs = Option.isNone(args.olderThan) ? 0 : yield* parseDuration(args.olderThan.value, "older-than")
      return yield* emptyTrash({ location, apply: true, json: args.json, olderThanMs })
    }
    if (Option.isSome(args.restore)) return yield* restoreArtifact(location, args.restore.value, args.json)
    const store = Store.make({ root: pathsOf(location.root).root, disk: nodeDisk })
    const folders = yield* store.trashed
    const now = yield* Clock.currentTimeMillis
    if (args.json) return void stdout().write(`${JSON.stringify(folders, null, 2)}\n`)
    if (folders.length === 0) return void stdout().write("the trash is empty\n")
    stdout().write(
      `${table(
        folders.map(({ bytes: size, objects, path, time }) => [
          bytes(size),
          plural(objects, "object"),
          ago(now - time),
          path
        ]),
        new Set([0, 1])
      )}\n`
    )
  })
).pipe(
  Command.withDescription("Show, restore or delete what `gc` moved out of the store"),
  Command.withExamples([
    { command: "pipeline cache trash", description: "What is there" },
    { command: "pipeline cache trash --restore 3f9a12c4", description: "Bring an artifact back" },
    { command: "pipeline cache trash --empty --older-than 7d", description: "Free the disk" }
  ])
)

/** The manifest first: it says what else is needed. The ledger is told at the end, when all of it is there. */
const restoreArtifact = Effect.fnUntraced(function* (
  location: ReturnType<typeof flags.locationOf>,
  text: string,
  json: boolean
) {
  const maintenance = yield* openMaintenance(location, "write")
  if (maintenance === undefined) return yield* new ConfigError({ message: nothingYet(location).trim() })
  const { database, store } = maintenance
  const { digest, id } = yield* attempt(database, () => artifactOf(database, text))
  let objects = 0
  const bring = (object: Digest) =>
    Effect.gen(function* () {
      if ((yield* store.has([object])).has(object)) return
      yield* store.restoreFromTrash(object)
      objects++
    })
  yield* bring(digest)
  const manifest = yield* store.readManifest(digest)
  for (const file of manifest.files) yield* bring(file.sha256)
  for (const page of manifest.items?.pages ?? []) {
    yield* bring(page.sha256)
    for (const item of yield* Effect.flatMap(store.read(page.sha256, { size: page.size }), decodePage))
      if (item.sha256 !== undefined) yield* bring(item.sha256)
  }
  yield* attempt(database, () => database.immediate(() => markPresent(database, [id])))
  stdout().write(
    json
      ? `${JSON.stringify({ digest, objects })}\n`
      : `${short(digest)} (${manifest.kind}) is back: ${plural(objects, "object")} restored\n`
  )
})
