/**
 * Fingerprints of stages that one suite has computed, for all others: most suites start with an empty cache, which would read the whole program anew. A cache remembers
 * fingerprints itself, and takes them only while every file that they were made from is as it was; here they are carried from one cache to the next.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Database } from "../../src/ledger/Database.ts"
import * as Remembered from "../../src/ledger/Remembered.ts"
import type { Plan } from "../../src/pipeline/Plan.ts"
import { sha256 } from "../../src/pipeline/Digest.ts"

/** Names the folder that all suites of one run share; without it a process shares with itself alone. */
export const folderVariable = "REMEMBERED_CODE_OF_SUITES"

type Entries = { readonly [name: string]: string }
const known = new Map<string, Entries>()

/** Modules that declare the stages of a plan. */
const modulesOf = ({ nodes }: Plan): ReadonlyArray<string> => [
  ...new Set(
    nodes.flatMap(({ stage: { definedAt } }) =>
      definedAt === undefined
        ? []
        : [definedAt.file.startsWith("file:") ? fileURLToPath(definedAt.file) : definedAt.file]
    )
  )
]

const shelf = (module: string): string | undefined => {
  const folder = process.env[folderVariable]
  return folder === undefined ? undefined : join(folder, `${sha256(module)}.json`)
}

const onDisk = (module: string): Entries => {
  const file = shelf(module)
  try {
    return file === undefined ? {} : (JSON.parse(readFileSync(file, "utf8")) as Entries)
  } catch {
    // Nobody has computed one yet.
    return {}
  }
}

/** Gives a cache what is known of the stages of a plan, before it is planned. */
export const recallCode = (database: Database, plan: Plan): void => {
  for (const module of modulesOf(plan))
    for (const [name, value] of Object.entries({ ...onDisk(module), ...known.get(module) }))
      if (Remembered.name(database, name) === undefined) Remembered.rememberName(database, name, value, 0)
}

/** Keeps what a cache knows of them afterwards. */
export const keepCode = (database: Database, plan: Plan): void => {
  for (const module of modulesOf(plan)) {
    const rows = database.all<{ name: string; value: string }>(
      "SELECT name, value FROM remembered WHERE name GLOB ?",
      `fingerprint * ${module}#*`
    )
    const entries = Object.fromEntries(rows.map(({ name, value }) => [name, value]))
    const before = known.get(module)
    if (rows.every(({ name, value }) => before?.[name] === value)) continue
    known.set(module, { ...before, ...entries })
    const file = shelf(module)
    if (file === undefined) continue
    mkdirSync(join(file, ".."), { recursive: true })
    // Whoever reads it meanwhile sees one whole file or the other. Of two that write at once one is lost, and computed again.
    writeFileSync(`${file}.${process.pid}`, JSON.stringify({ ...onDisk(module), ...known.get(module) }))
    renameSync(`${file}.${process.pid}`, file)
  }
}
