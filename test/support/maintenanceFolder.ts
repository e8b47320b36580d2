/** A folder with the pipeline of test/cli/fixtures/house.ts and its cache, for tests of verbs through the real program. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert } from "vitest"
import { type Ended, program } from "./program.ts"

const fixture = fileURLToPath(new URL("../cli/fixtures/house.ts", import.meta.url))

export class MaintenanceFolder {
  readonly path = mkdtempSync(join(tmpdir(), "pipeline-house-"))
  readonly cache = join(this.path, "cache")

  constructor() {
    copyFileSync(fixture, join(this.path, "house.ts"))
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
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

  /** Runs the pipeline; returns the labels that were executed, sorted, and all that was said. */
  async run(
    ...args: ReadonlyArray<string>
  ): Promise<{ readonly labels: ReadonlyArray<string>; readonly said: string }> {
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
