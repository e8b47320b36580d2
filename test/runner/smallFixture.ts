/** Copies of the small fixture in temporary folders, and the real program run on them in processes of their own. */
import { type ChildProcess, spawn } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { onTestFinished } from "vitest"
import { Database, type Value } from "../../src/ledger/Database.ts"
import { nodeDisk } from "../../src/store/NodeDisk.ts"
import * as Store from "../../src/store/Store.ts"

const source = fileURLToPath(new URL("../fixtures/small", import.meta.url))
/** Built once before all suites. */
const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Fixture {
  readonly folder: string
  readonly cache: string
  readonly write: (file: string, content: string) => void
  readonly text: (file: string) => string
  /** Replaces a piece of a file, which must be there. */
  readonly edit: (file: string, from: string, to: string) => void
  readonly start: (
    args: ReadonlyArray<string>,
    env?: NodeJS.ProcessEnv
  ) => { child: ChildProcess; ended: Promise<Ended> }
  readonly run: (args?: ReadonlyArray<string>, env?: NodeJS.ProcessEnv) => Promise<Ended>
  /** What stages noted since the last call. */
  readonly notes: () => ReadonlyArray<string>
  readonly query: <R>(sql: string, ...values: ReadonlyArray<Value>) => ReadonlyArray<R>
  /** Labels that the newest run executed. */
  readonly executed: () => ReadonlyArray<string>
  /** Digests of all outputs of the newest run, by label. */
  readonly results: () => Readonly<Record<string, string>>
  /** What is wrong with the objects of everything that the ledger calls present. */
  readonly faults: () => Promise<ReadonlyArray<string>>
}

export const installLoudWords = (folder: string, version: string, body: string): void => {
  const target = join(folder, "node_modules", "loud-words")
  mkdirSync(target, { recursive: true })
  writeFileSync(
    join(target, "package.json"),
    JSON.stringify({ name: "loud-words", version, type: "module", exports: "./index.js" })
  )
  writeFileSync(join(target, "index.js"), `export const loud = text => ${body}\n`)
  // What npm writes whenever it changes anything below node_modules.
  writeFileSync(join(folder, "node_modules", ".package-lock.json"), JSON.stringify({ version }))
}

export const makeFixture = (
  lines: ReadonlyArray<string> = ["one line", "another line", "slow one", "the last"]
): Fixture => {
  const folder = mkdtempSync(join(tmpdir(), "pipeline-small-"))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  cpSync(source, folder, { recursive: true })
  // Not in the repository: a package of its own there could not import ours by name.
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "small", private: true, type: "module" }))
  installLoudWords(folder, "1.0.0", "text.toUpperCase()")
  const file = (name: string) => join(folder, name)
  // Ends with a line break, which no later stage keeps: no two stages return the same bytes.
  writeFileSync(file("in.txt"), `${lines.join("\n")}\n`)
  const cache = file("cache")
  const notesFile = file("notes")
  let noted = 0

  const start: Fixture["start"] = (args, env = {}) => {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: folder,
      // A session of its own: whoever runs these tests may ignore that hang-ups come (nohup).
      detached: true,
      env: { ...process.env, _: "", NODE_OPTIONS: "", PIPELINE_CACHE: cache, FIXTURE_NOTES: notesFile, ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    child.stdout.on("data", data => (stdout += String(data)))
    child.stderr.on("data", data => (stderr += String(data)))
    const ended = new Promise<Ended>(resolve =>
      child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }))
    )
    return { child, ended }
  }
  const query: Fixture["query"] = <R>(sql: string, ...values: ReadonlyArray<Value>) => {
    const database = Database.openReadonly(join(cache, "ledger.db"))
    if (database === undefined) return []
    try {
      return database.all<R>(sql, ...values)
    } finally {
      database.close()
    }
  }

  return {
    folder,
    cache,
    write: (name, content) => writeFileSync(file(name), content),
    text: name => readFileSync(file(name), "utf8"),
    edit: (name, from, to) => {
      const text = readFileSync(file(name), "utf8")
      if (!text.includes(from)) throw new Error(`${name} does not contain ${from}`)
      writeFileSync(file(name), text.replace(from, to))
    },
    start,
    run: (args = [], env) => start(["run", "./pipeline.ts", ...args], env).ended,
    notes: () => {
      const all = existsSync(notesFile) ? readFileSync(notesFile, "utf8").split("\n").slice(0, -1) : []
      const fresh = all.slice(noted)
      noted = all.length
      return fresh
    },
    query,
    executed: () =>
      query<{ label: string }>(
        "SELECT label FROM execution WHERE status = 'done' AND run = (SELECT max(id) FROM run) ORDER BY label"
      ).map(({ label }) => label),
    results: () =>
      Object.fromEntries(
        query<{ label: string; digest: string }>(
          `SELECT label, hex(artifact.digest) AS digest FROM plan_node JOIN output ON output.action = plan_node.action
           JOIN artifact ON artifact.id = output.artifact WHERE plan_node.plan = (SELECT plan FROM run ORDER BY id DESC LIMIT 1)`
        ).map(({ digest, label }) => [label, digest])
      ),
    faults: async () => {
      const expected = query<{ digest: string; size: number | null }>(
        `SELECT lower(hex(object.digest)) AS digest, object.size FROM artifact
           JOIN artifact_object ON artifact_object.artifact = artifact.id JOIN object ON object.id = artifact_object.object
           WHERE artifact.state = 0
         UNION SELECT lower(hex(digest)), NULL FROM artifact WHERE state = 0`
      )
      const store = Store.make({ root: cache, disk: nodeDisk })
      const { damaged } = await Effect.runPromise(store.verifyAll())
      const missing = await Effect.runPromise(store.has(expected.map(({ digest }) => digest as never)))
      return [
        ...damaged.map(error => error.message),
        ...expected.filter(({ digest }) => !missing.has(digest as never)).map(({ digest }) => `${digest} is missing`)
      ]
    }
  }
}
