/**
 * Takes over a teacher that `pipeline run pretrain-teacher` has trained: its model and its evaluation become part of what ships.
 *
 *     node scripts/assets/teacher.ts [--cache DIR]
 *
 * The shipped artifacts have the digests of the run's, so that its ledger and that of any user name the same thing.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { artifactsOf } from "../../src/ledger/References.ts"
import * as Cache from "../../src/runner/Cache.ts"
import type { IndexEntry } from "./build.ts"

const directory = join(import.meta.dirname, "../../assets")
const licence = "licences/teacher.txt"

const { values: flags } = parseArgs({ options: { cache: { type: "string", default: "cache" } } })
const cache = Cache.openReadonly({ root: flags.cache, layers: [directory] })
if (cache === undefined) throw new Error(`nothing was ever run with the cache ${flags.cache}`)

const indexPath = join(directory, "index.json")
const index = JSON.parse(readFileSync(indexPath, "utf8")) as {
  readonly version: 1
  readonly artifacts: Record<string, IndexEntry>
}
/** Files that ship already, in another artifact: they are not stored twice. */
const shipped = new Map(
  Object.entries(index.artifacts).flatMap(([name, { files }]) =>
    name.startsWith("teacher") ? [] : files.map(({ at, sha256 }) => [sha256, at] as const)
  )
)

const take = async (name: string, description: string, action: string, kind: string): Promise<void> => {
  const artifact = artifactsOf(cache.database, action).find(found => found.kind === kind)
  if (artifact === undefined) throw new Error(`${action} has no ${kind}`)
  const manifest = await Effect.runPromise(cache.store.readManifest(artifact.digest))
  const files: Array<IndexEntry["files"][number]> = []
  for (const { path, sha256, size } of manifest.files) {
    const at = shipped.get(sha256) ?? `${name}/${path}`
    if (!shipped.has(sha256)) {
      mkdirSync(dirname(join(directory, at)), { recursive: true })
      writeFileSync(join(directory, at), await Effect.runPromise(cache.store.read(sha256)))
    }
    files.push({ path, sha256, size, at })
  }
  index.artifacts[name] = { kind, description, licence, files, metadata: manifest.metadata as IndexEntry["metadata"] }
  console.log(`${name}: ${artifact.digest}`)
}

await take(
  "teacher",
  "causal language model of 3.6 M parameters, Qwen3 family",
  "pretrain-teacher/pretrain",
  "model-files"
)
await take(
  "teacher-evaluation",
  "the teacher on held-out text, beside n-gram models, and on held-out problems",
  "pretrain-teacher/report-teacher",
  "report"
)
writeFileSync(indexPath, `${JSON.stringify(index, undefined, 2)}\n`)
