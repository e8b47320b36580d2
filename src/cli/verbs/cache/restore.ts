/** `pipeline cache restore`: copies an artifact's files out of the store. */
import { existsSync } from "node:fs"
import { join, resolve as resolvePath } from "node:path"
import { Effect } from "effect"
import { verb } from "../../verb.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { short } from "../../../pipeline/Digest.ts"
import { bytes, plural } from "../../../pipeline/units.ts"
import { storeAt } from "../../../runner/Cache.ts"
import * as Layer from "../../../store/Layer.ts"
import { nodeDisk } from "../../../store/NodeDisk.ts"
import type * as Store from "../../../store/Store.ts"
import * as flags from "../../flags.ts"
import { stoppable } from "../../interruption.ts"
import { artifactFor, attempt, warnIfSuspect } from "../../look.ts"
import { needMaintenance } from "../../maintenance.ts"
import { print, printJson } from "../../terminal/terminal.ts"

const embedded = "embedded:"
/** Items of a chunk set get their own folder, each named by its key. */
const itemsFolder = "items"

export const restore = verb("restore", {
  about: "Copy an artifact's files out of the store, checked on the way",
  examples: {
    "pipeline cache restore 3f9a12c4 --to ./weights": "An artifact by its digest",
    "pipeline cache restore embedded:tokenizer --to ./tokenizer": "One that ships with the program",
    "pipeline cache restore 3f9a12c4 --to ./weights --hardlink": "Read-only, without using space"
  },
  takes: {
    reference: flags.argument(
      "ref",
      "An artifact, an action with one output (PIPELINE/LABEL), or embedded:NAME for one that ships with the program"
    ),
    to: flags.text("to", "DIR", "Directory to write its files into; nothing that is there is replaced"),
    hardlink: flags.toggle(
      "hardlink",
      "Link the files instead of copying them: takes no space, and they are read-only"
    ),
    ...flags.ofCache
  },
  run: Effect.fn("cache restore")(function* (args) {
    const location = flags.locationOf(args.cache)
    // Writes to the given directory only; the cache is not changed, except that a damaged object is moved aside.
    const store = storeAt(location, nodeDisk)
    const manifest = yield* args.reference.startsWith(embedded)
      ? embeddedManifest(store, args.reference.slice(embedded.length))
      : ledgerManifest(location, store, args.reference)
    const directory = resolvePath(args.to)
    const pages = manifest.items?.pages ?? []
    const taken = [...manifest.files.map(file => file.path), ...(pages.length > 0 ? [itemsFolder] : [])].find(path =>
      existsSync(join(directory, path))
    )
    if (taken !== undefined) {
      return yield* new ConfigError({
        at: join(args.to, taken),
        message: "exists already, and is not replaced",
        advice: "give another directory with --to"
      })
    }
    const mode = args.hardlink ? "hardlink" : "copy"
    yield* store.materialiseArtifact(manifest, directory, { mode })
    let items = 0
    for (const page of pages) {
      for (const item of yield* store.readPage(page)) {
        const to = join(directory, itemsFolder, item.key)
        if (item.sha256 === undefined) {
          yield* nodeDisk.mkdir(join(directory, itemsFolder))
          yield* nodeDisk.write(to, item.bytes)
        } else yield* store.materialise(item.sha256, to, { mode, size: item.size })
        items++
      }
    }
    const total = manifest.files.reduce((sum, file) => sum + file.size, 0) + (manifest.items?.bytes ?? 0)
    if (args.json) {
      const files = manifest.files.map(file => file.path)
      return printJson({ directory, kind: manifest.kind, files, items, bytes: total, metadata: manifest.metadata })
    }
    const parts = [plural(manifest.files.length, "file"), ...(items === 0 ? [] : [plural(items, "item")])]
    print(`${manifest.kind}: ${parts.join(" and ")}, ${bytes(total)}, in ${directory}`)
  }, stoppable())
})

const embeddedManifest = Effect.fnUntraced(function* (store: Store.Store, name: string) {
  const artifact = yield* Layer.findArtifact(store.layers, name)
  if (artifact === undefined) {
    return yield* new ConfigError({
      at: `${embedded}${name}`,
      message: "no artifact of that name ships with the program",
      advice: "`pipeline list --assets` shows those that do"
    })
  }
  return artifact.manifest
})

const ledgerManifest = Effect.fnUntraced(function* (
  location: ReturnType<typeof flags.locationOf>,
  store: Store.Store,
  text: string
) {
  const { database } = yield* needMaintenance(location, "read")
  const found = yield* artifactFor(database, text)
  const { digest, state } = found
  if (state !== "present") {
    return yield* new ConfigError({
      at: text,
      message: `the bytes of ${short(digest)} are not in the store: they were ${state}`,
      advice: `\`pipeline cache trash --restore ${short(digest)}\` brings them back while the trash has them; else run the pipeline again`
    })
  }
  yield* attempt(() => warnIfSuspect(database, found))
  return yield* store.readManifest(digest)
})
