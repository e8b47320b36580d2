/** The program outside of its checkout, as a person takes it there: packed by npm, and installed by npm from the registry into an empty folder. */
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { temporaryDirectory } from "../support/inProcess.ts"
import { command, copyCheckout, must, pack, shell } from "../support/packed.ts"

const registry = spawnSync("npm", ["config", "get", "registry"], { encoding: "utf8", env: shell }).stdout.trim()
const reached = await fetch(registry, { signal: AbortSignal.timeout(20_000) }).then(
  () => true,
  () => false
)
if (!reached)
  console.log(`SKIPPED: the package was not installed from the registry, because ${registry} cannot be reached`)

describe.skipIf(!reached)("npm", () => {
  const directory = temporaryDirectory()
  const folder = join(directory.path, "a folder")
  const project = join(folder, "my project")
  let archive: string
  beforeAll(() => {
    const checkout = join(directory.path, "checkout")
    copyCheckout(checkout)
    archive = pack(checkout, directory.path).archive
    mkdirSync(folder)
    must(folder, "npm", "init", "-y")
  }, 600_000)
  afterAll(() => directory.remove())

  it(
    "installs the package with its usual flags, from the registry alone, and runs no script",
    { timeout: 600_000 },
    () => {
      const { stderr, stdout } = must(folder, "npm", "install", archive, "--foreground-scripts", "--loglevel=http")
      const hosts = new Set([...stderr.matchAll(/https?:\/\/[^/\s]+/g)].map(([host]) => host))
      assert.deepStrictEqual([...hosts], [new URL(registry).origin])
      // As npm announces a script: `> package@version postinstall`.
      assert.notMatch(stdout + stderr, /^> \S+@\S+ \w+$/m)
      assert.match(must(folder, "npx", "pipeline", "doctor").stdout, /ok +engine ort/)
    }
  )

  it("installs what it depends on in the versions that the checkout was tested with", () => {
    const lockOf = (checkout: string) =>
      (
        JSON.parse(readFileSync(join(checkout, "package-lock.json"), "utf8")) as {
          readonly packages: { readonly [path: string]: { readonly version: string } }
        }
      ).packages
    const [ours, theirs] = [lockOf(join(import.meta.dirname, "../..")), lockOf(folder)]
    const installed = Object.entries(theirs).filter(([path]) => path !== "" && !path.endsWith("/dllm-pipeline"))
    // In ranges, and of no account here: headers for a compiler, and filters of the bundler's plugins (docs/decisions/055-the-package-brings-its-runtime.md).
    const loose = new Set(["node_modules/node-addon-api", "node_modules/@rolldown/pluginutils"])
    for (const [path, { version }] of installed)
      if (!loose.has(path)) assert.strictEqual(version, ours[path]?.version, path)
  })

  it("runs, checks and tests what `pipeline init` wrote", { timeout: 900_000 }, () => {
    must(folder, "npx", "pipeline", "init", "my project")
    must(project, "npm", "install")
    const { stderr, stdout } = must(project, "npx", "pipeline", "run", "./pipeline.ts", "--quick")
    assert.match(stderr, /35 executed, 0 reused/)
    assert.match(stdout, /focal loss/)
    assert.match(must(project, "npx", "pipeline", "run", "./pipeline.ts", "--quick").stderr, /0 executed/)
    must(project, "npm", "run", "check")
    must(project, "npm", "test")
    assert.strictEqual(command(project, "npx", "pipeline", "init").code, 2)
  })
})
