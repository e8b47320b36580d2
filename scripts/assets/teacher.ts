/**
 * Takes over a teacher that `pipeline run pretrain-teacher` has trained: its model and its evaluation become part of what ships.
 *
 *     node scripts/assets/teacher.ts [--family hybrid] [--cache DIR]
 *
 * The shipped artifacts have the digests of the run's, so that its ledger and that of any user name the same thing.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { artifactsOf, resolve } from "../../src/ledger/References.ts"
import * as Cache from "../../src/runner/Cache.ts"
import { type ModelFamily, modelFamilies } from "../../src/pipeline/ModelFamily.ts"
import type { IndexEntry } from "./build.ts"

const directory = join(import.meta.dirname, "../../assets")
const licence = "licences/teacher.txt"

/** By its `--family`: what the artifact is called, and the name that its stages have beside their own (pipelines/pretrain-teacher.ts). */
const teachers: {
  readonly [family in ModelFamily]: { readonly artifact: string; readonly use: string; readonly kind: string }
} = {
  dense: { artifact: "teacher", use: "", kind: "Qwen3 family" },
  hybrid: { artifact: "teacher-hybrid", use: "/hybrid", kind: "Qwen3.5 family: Gated DeltaNets and attention, 3 to 1" }
}

const { values: flags } = parseArgs({
  options: { cache: { type: "string", default: "cache" }, family: { type: "string", default: "dense" } }
})
const family = modelFamilies.find(known => known === flags.family)
if (family === undefined) throw new Error(`--family ${flags.family}: there are ${modelFamilies.join(", ")}`)
const teacher = teachers[family]
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

const take = async (
  name: string,
  action: string,
  kind: string,
  describe: (metadata: { readonly [field: string]: unknown }) => string
): Promise<void> => {
  const artifact = artifactsOf(cache.database, resolve(cache.database, action, { returned: true }), action).find(
    found => found.kind === kind
  )
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
  const metadata = manifest.metadata as IndexEntry["metadata"]
  index.artifacts[name] = { kind, description: describe(metadata), licence, files, metadata }
  console.log(`${name}: ${artifact.digest}`)
}

await take(
  teacher.artifact,
  `pretrain-teacher/pretrain${teacher.use}`,
  "model-files",
  ({ parameters }) => `causal language model of ${(Number(parameters) / 1e6).toFixed(1)} M parameters, ${teacher.kind}`
)
await take(
  `${teacher.artifact}-evaluation`,
  `pretrain-teacher/report-teacher${teacher.use}`,
  "report",
  () =>
    `the ${family === "dense" ? "" : `${family} `}teacher on held-out text, beside n-gram models, and on held-out problems`
)
writeFileSync(indexPath, `${JSON.stringify(index, undefined, 2)}\n`)
