/** `pipeline init` in a checkout, and what it says of where the program is from; test/package has the project that it writes. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import * as fc from "fast-check"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { dependencyOf } from "../../src/cli/project/dependency.ts"
import { packageName } from "../../src/cli/project/files.ts"
import { pipeline } from "../support/commandLine.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const root = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "")

let directory: ReturnType<typeof temporaryDirectory>
beforeEach(() => void (directory = temporaryDirectory()))
afterEach(() => directory.remove())

describe("pipeline init", () => {
  it("writes what it says into the folder that it is started in", () => {
    const { code, stdout } = pipeline(directory.path, ["init", "--json"])
    assert.strictEqual(code, 0)
    const said = JSON.parse(stdout) as { readonly files: ReadonlyArray<string>; readonly next: ReadonlyArray<string> }
    assert.sameMembers([...said.files], readdirSync(directory.path))
    assert.notInclude(said.next.join("\n"), "cd my")
    const again = pipeline(directory.path, ["init"])
    assert.strictEqual(again.code, 2)
    assert.match(again.stderr, /is not empty: it has \.gitignore and 8 more/)
  })

  it("says how it cannot write", () => {
    writeFileSync(join(directory.path, "file"), "")
    const { code, stderr } = pipeline(directory.path, ["init", "file/below"])
    assert.strictEqual(code, 2)
    assert.match(stderr, /file\/below: cannot be written: ENOTDIR/)
  })
})

describe("the dependency on this program", () => {
  it("is, of a checkout, the archive that it packs", () => {
    const { specifier, unpacked } = dependencyOf(root, "9.9.9", directory.path)
    assert.strictEqual(join(directory.path, specifier.replace("file:", "")), join(root, "dllm-pipeline-9.9.9.tgz"))
    assert.strictEqual(unpacked, root)
  })

  it("is, of an installation, what npm installed: an archive, an address, or else the version", () => {
    const project = join(directory.path, "project")
    const own = join(directory.path, "x", "node_modules", "dllm-pipeline")
    const list = join(directory.path, "x", "node_modules", ".package-lock.json")
    mkdirSync(own, { recursive: true })
    const foundAs = (resolved: string | undefined) => {
      writeFileSync(list, JSON.stringify({ packages: { "node_modules/dllm-pipeline": { resolved } } }))
      return dependencyOf(own, "9.9.9", project).specifier
    }
    assert.strictEqual(
      foundAs("file:../archives/a b.tgz"),
      `file:${relative(project, join(directory.path, "archives/a b.tgz"))}`
    )
    assert.strictEqual(foundAs("https://example.org/a.tgz"), "https://example.org/a.tgz")
    assert.strictEqual(foundAs(undefined), "9.9.9")
    rmSync(list)
    assert.strictEqual(dependencyOf(own, "9.9.9", project).specifier, "9.9.9")
  })
})

it("a package's name is one that npm takes, whatever its folder is called", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), folder => {
      const name = packageName(folder)
      assert.match(name, /^[a-z0-9][a-z0-9._-]*$/)
      assert.isAtMost(name.length, 214)
      assert.notInclude(["node_modules", "dllm-pipeline", "favicon.ico"], name)
    }),
    { examples: [["node_modules"], ["My Project"], ["..."], ["favicon.ico"], ["\u00e4\u00f6"]] }
  )
  assert.strictEqual(packageName("My Project"), "my-project")
})

it("the files that it writes are those of the example, letter by letter", () => {
  pipeline(directory.path, ["init", "made"])
  for (const name of ["focal.ts", "focal.yaml", "row.ts", "pipeline.ts"])
    assert.strictEqual(
      readFileSync(join(directory.path, "made", name), "utf8"),
      readFileSync(join(root, "docs/examples/focal", name), "utf8")
    )
})
