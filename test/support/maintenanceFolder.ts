/** A folder with the pipeline of test/cli/fixtures/house.ts and its cache, for tests of verbs through the real program. */
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert } from "vitest"
import { type Ended, program } from "./program.ts"

const fixture = fileURLToPath(new URL("../cli/fixtures/house.ts", import.meta.url))

/** What each run of a test's beginning left and said, by the arguments of all of them; copied, so that it is made once a file. */
interface Beginning {
  readonly copy: string
  readonly ran: Ran
}

/** Labels that were executed, sorted, and all that was said. */
interface Ran {
  readonly labels: ReadonlyArray<string>
  readonly said: string
}

export class MaintenanceFolder {
  readonly path: string
  readonly cache: string
  readonly #copies: string
  readonly #beginnings = new Map<string, Beginning>()

  constructor() {
    const own = mkdtempSync(join(tmpdir(), "pipeline-house-"))
    this.path = join(own, "house")
    this.cache = join(this.path, "cache")
    this.#copies = join(own, "copies")
    this.clear()
  }

  /** Makes the folder as it was at first. */
  clear(): void {
    rmSync(this.path, { recursive: true, force: true })
    mkdirSync(this.path)
    copyFileSync(fixture, join(this.path, "house.ts"))
  }

  remove(): void {
    rmSync(join(this.path, ".."), { recursive: true, force: true })
  }

  /** Makes the folder as it is after a first run, and after one more with each of these arguments. */
  async begin(...more: ReadonlyArray<ReadonlyArray<string>>): Promise<Ran> {
    const key = JSON.stringify(more)
    const known = this.#beginnings.get(key)
    if (known !== undefined) {
      rmSync(this.path, { recursive: true, force: true })
      cpSync(known.copy, this.path, { recursive: true, preserveTimestamps: true })
      return known.ran
    }
    if (more.length === 0) this.clear()
    else await this.begin(...more.slice(0, -1))
    const ran = await this.run(...(more.at(-1) ?? []))
    const copy = join(this.#copies, String(this.#beginnings.size))
    cpSync(this.path, copy, { recursive: true, preserveTimestamps: true })
    this.#beginnings.set(key, { copy, ran })
    return ran
  }

  /** Runs the program here. */
  call(...args: ReadonlyArray<string>): Promise<Ended> {
    return program(args, { cwd: this.path })
  }

  /** As `call`, where success is expected; returns what was printed to stdout. */
  async text(...args: ReadonlyArray<string>): Promise<string> {
    const ended = await this.call(...args)
    assert.strictEqual(ended.code, 0, `pipeline ${args.join(" ")}: ${ended.stderr}`)
    return ended.stdout
  }

  async json<A>(...args: ReadonlyArray<string>): Promise<A> {
    return JSON.parse(await this.text(...args, "--json")) as A
  }

  /** Runs the pipeline. */
  async run(...args: ReadonlyArray<string>): Promise<Ran> {
    const ended = await this.call("run", "./house.ts", ...args)
    assert.strictEqual(ended.code, 0, ended.stderr)
    const labels = [...ended.stderr.matchAll(/▸ ([^\s,]+)/g)].map(match => match[1]!)
    return { labels: labels.sort(), said: ended.stderr }
  }

  /** Path and content of every file below the cache. */
  snapshot(): ReadonlyMap<string, string> {
    const found = new Map<string, string>()
    for (const entry of readdirSync(this.path, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      // The shared memory of SQLite's log changes with every reader.
      if (path.endsWith("-shm")) continue
      found.set(path, entry.isFile() ? readFileSync(path).toString("hex") : "directory")
    }
    return found
  }

  objects(): ReadonlyArray<string> {
    return readdirSync(join(this.cache, "objects"), { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name))
      .sort()
  }
}
