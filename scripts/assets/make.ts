/**
 * Makes the assets that ship with the program, from packages in fixed versions.
 *
 *     node scripts/assets/make.ts [--from DIR] [--check] [--pretrain-text FILE]
 */
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { parseArgs } from "node:util"
import { type Assets, buildAssets, type IndexEntry } from "./build.ts"
import { jsonLines } from "../../src/corpora/pretrain.ts"

const directory = join(import.meta.dirname, "../../assets")

interface Index {
  readonly version: 1
  readonly artifacts: Readonly<Record<string, IndexEntry>>
}

const readIfThere = (path: string): Promise<string | undefined> =>
  readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT") return undefined
    throw cause
  })

/** The whole index: our entries in place of their former selves, those of other scripts as they are. */
const indexText = (former: string | undefined, ours: Assets["index"]): string => {
  const others = former === undefined ? {} : (JSON.parse(former) as Index).artifacts
  const index: Index = { version: 1, artifacts: { ...others, ...ours } }
  return `${JSON.stringify(index, undefined, 2)}\n`
}

const { values: flags } = parseArgs({
  options: {
    from: { type: "string" },
    check: { type: "boolean", default: false },
    "pretrain-text": { type: "string" }
  }
})

const assets = await buildAssets(flags.from)
const indexPath = join(directory, "index.json")
const files = new Map([...assets.files, ["index.json", indexText(await readIfThere(indexPath), assets.index)]])

let differing = 0
let total = 0
for (const [path, content] of files) {
  total += Buffer.byteLength(content)
  const target = join(directory, path)
  const same = (await readIfThere(target)) === content
  if (same) continue
  differing += 1
  console.log(flags.check ? `differs: assets/${path}` : `wrote assets/${path}`)
  if (flags.check) continue
  await mkdir(dirname(target), { recursive: true })
  await writeFile(target, content)
}
console.log(`${files.size} files, ${total} bytes, ${flags.check ? `${differing} differ` : `${differing} written`}`)
if (flags["pretrain-text"] !== undefined) {
  await writeFile(flags["pretrain-text"], jsonLines(assets.pretrain))
  console.log(`wrote ${assets.pretrain.length} texts to ${flags["pretrain-text"]}`)
}
if (flags.check && differing > 0) process.exitCode = 1
