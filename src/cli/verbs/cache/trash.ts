/** `pipeline cache trash`: what collections moved out of the store, getting it back, and deleting it for good. */
import { Clock, Effect, Option } from "effect"
import { verb } from "../../verb.ts"
import { markPresent } from "../../../ledger/Collection.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../../pipeline/Digest.ts"
import { ago, bytes, plural } from "../../../pipeline/units.ts"
import { pathsOf } from "../../../runner/Cache.ts"
import { nodeDisk } from "../../../store/NodeDisk.ts"
import { objectsOf } from "../../../store/Pages.ts"
import * as Store from "../../../store/Store.ts"
import { parseDuration } from "../../text/amounts.ts"
import * as flags from "../../flags.ts"
import { artifactFor, attempt } from "../../look.ts"
import { needMaintenance } from "../../maintenance.ts"
import { table } from "../../terminal/style.ts"
import { emptyTrash } from "../../trash.ts"
import { print, printJson } from "../../terminal/terminal.ts"

export const trash = verb("trash", {
  about: "Show, restore or delete what `gc` moved out of the store",
  examples: {
    "pipeline cache trash": "What is there",
    "pipeline cache trash --restore 3f9a12c4": "Bring an artifact back",
    "pipeline cache trash --empty --older-than 7d": "Free the disk"
  },
  takes: {
    restore: flags.optionalText("restore", "REF", "Bring an artifact back into the store"),
    empty: flags.toggle("empty", "Delete it all for good"),
    olderThan: flags.optionalText(
      "older-than",
      "AGE",
      "With --empty: only what was moved there longer ago than this, such as 7d"
    ),
    ...flags.ofCache
  },
  run: Effect.fn("cache trash")(function* (args) {
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
    if (args.json) return printJson(folders)
    if (folders.length === 0) return print("the trash is empty")
    const rows = folders.map(({ bytes: size, objects, path, time }) => [
      bytes(size),
      plural(objects, "object"),
      ago(now - time),
      path
    ])
    print(table(rows, new Set([0, 1])))
  })
})

/** The manifest first: it says what else is needed. The ledger is told at the end, when all of it is there. */
const restoreArtifact = Effect.fnUntraced(function* (
  location: ReturnType<typeof flags.locationOf>,
  text: string,
  json: boolean
) {
  const { database, store } = yield* needMaintenance(location, "write")
  const { digest, id } = yield* artifactFor(database, text)
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
    for (const object of objectsOf(yield* store.readPage(page))) yield* bring(object)
  }
  yield* attempt(() => database.immediate(() => markPresent(database, [id])))
  if (json) return printJson({ digest, objects })
  print(`${short(digest)} (${manifest.kind}) is back: ${plural(objects, "object")} restored`)
})
