/** What a fingerprint covers, one kind of import after the other: each edit that changes what runs, and edits that change nothing. */
import { execFileSync } from "node:child_process"
import { cpSync, existsSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import { assert, describe, it, onTestFinished } from "vitest"
import * as Fingerprint from "../../src/runner/Fingerprint.ts"
import {
  after,
  changes,
  changesNothing,
  compute,
  folder,
  type Folder,
  packages,
  stage
} from "../support/fingerprinted.ts"

describe("a change of it is seen:", () => {
  it("a constant, of the same length, in a module that a bundler would inline", () =>
    changes(folder({ "w.ts": stage(`import { v } from "./c.ts"`, "v"), "c.ts": "export const v = 4" }), {
      "c.ts": "export const v = 8"
    }))

  it("where a barrel leads", () =>
    changes(
      folder({
        "w.ts": stage(`import { v } from "./barrel.ts"`, "v"),
        "barrel.ts": `export * from "./a.ts"`,
        "a.ts": "export const v = 4",
        "b.ts": "export const v = 8"
      }),
      { "barrel.ts": `export * from "./b.ts"` }
    ))

  it("where two barrels lead, when they change places", () =>
    changes(
      folder({
        "w.ts": stage(`import { v as x } from "./one.ts"\nimport { v as y } from "./two.ts"`, "x - y"),
        "one.ts": `export * from "./a.ts"`,
        "two.ts": `export * from "./b.ts"`,
        "a.ts": "export const v = 4",
        "b.ts": "export const v = 8"
      }),
      { "one.ts": `export * from "./b.ts"`, "two.ts": `export * from "./a.ts"` }
    ))

  it("a module below the user's own src/pipeline", () =>
    changes(
      folder({
        "w.ts": stage(`import { v } from "./src/pipeline/c.ts"`, "v"),
        "src/pipeline/c.ts": "export const v = () => 4"
      }),
      { "src/pipeline/c.ts": "export const v = () => 8" }
    ))

  it("what # leads to: the module, and the map", async () => {
    const project = folder({
      "w.ts": stage(`import { v } from "#lib/c"`, "v"),
      "lib/c.ts": "export const v = 4",
      "other/c.ts": "export const v = 9"
    })
    await changes(project, { "lib/c.ts": "export const v = 8" })
    await changes(project, { "package.json": `{ "type": "module", "imports": { "#lib/*": "./other/*.ts" } }` })
  })

  it("a module that is imported for its effect, and what it imports", async () => {
    const project = folder({
      "w.ts": stage(`import "./setup.ts"`, "globalThis.v"),
      "setup.ts": `import { v } from "./c.ts"\nglobalThis.v = v`,
      "c.ts": "export const v = 4"
    })
    await changes(project, { "c.ts": "export const v = 8" })
    await changes(project, { "setup.ts": `import { v } from "./c.ts"\nglobalThis.v = v + 1` })
  })

  it("a module that is loaded for a type alone, when it has effects", () =>
    changes(
      folder({
        "w.ts": stage(`import { type T as U } from "./t.ts"`, "globalThis.v"),
        "t.ts": "export type T = 1; globalThis.v = 4"
      }),
      {
        "t.ts": "export type T = 1; globalThis.v = 8"
      }
    ))

  it("the order of effects", () =>
    changes(
      folder({
        "w.ts": stage(`import "./a.ts"\nimport "./b.ts"`, "globalThis.v"),
        "a.ts": "globalThis.v = 1",
        "b.ts": "globalThis.v = 2"
      }),
      { "w.ts": stage(`import "./b.ts"\nimport "./a.ts"`, "globalThis.v") }
    ))

  it("JSON, CommonJS by createRequire, and what that requires", async () => {
    const project = folder({
      "w.ts": stage(
        `import { createRequire } from "node:module"\nimport data from "./d.json" with { type: "json" }`,
        `data.v + createRequire(import.meta.url)("./old").v`
      ),
      "d.json": `{ "v": 4 }`,
      "old/package.json": `{ "main": "main.cjs" }`,
      "old/main.cjs": `exports.v = require("./t.json").v; if (exports.v) return`,
      "old/t.json": `{ "v": 1 }`
    })
    await changes(project, { "d.json": `{ "v": 8 }` })
    await changes(project, { "old/t.json": `{ "v": 2 }` })
    await changes(project, { "old.js": "export const v = 7" })
  })

  it("each instance of a module, as Node makes one for every query", () =>
    changes(
      folder({
        "w.ts": stage(`import { a } from "./c.ts"\nimport { set } from "./c.ts?other"`, "[set(), a()]"),
        "c.ts": "let v = 1\nexport const a = () => v\nexport const set = () => { v = 2 }"
      }),
      { "w.ts": stage(`import { a } from "./c.ts"\nimport { set } from "./c.ts"`, "[set(), a()]") }
    ))

  it("what createRequire loads under another name, and what may be loaded under a computed one", async () => {
    const files = { "m.mjs": "export const a = 1\nexport const b = 1" }
    const edited = { "m.mjs": "export const a = 1\nexport const b = 2" }
    const uses = (imports: string, value: string) =>
      changes(folder({ ...files, "w.ts": stage(`import { a } from "./m.mjs"\n${imports}`, `[a, ${value}]`) }), edited)
    const module = `import { createRequire as make } from "node:module"`
    await uses(module, `make(import.meta.url)("./m.mjs").b`)
    await uses(`${module}\nconst load = make(import.meta.url)`, `load("./m.mjs").b`)
    await uses(`${module}\nconst another = make`, `another(import.meta.url)("./m.mjs").b`)
    await uses(`import * as module from "node:module"`, `module.createRequire(import.meta.url)("./m.mjs").b`)
    await uses("", `import("./" + "m.mjs")`)
    await uses("", `eval("import('./m.mjs')")`)
    await uses("const f = Function", `f("return import('./m.mjs')")`)
  })

  it("the module of a worker, or of a program, beside the stage", async () => {
    for (const [imports, value] of [
      ["", `new URL("thread.ts", import.meta.url)`],
      [`import { join } from "node:path"`, `join(import.meta.dirname, "thread.ts")`],
      ["", "`${import.meta.dirname}/thread.ts`"],
      ["", `import.meta.dirname + "/thread.ts"`]
    ] as const)
      await changes(folder({ "w.ts": stage(imports, value), "thread.ts": "console.log(1)" }), {
        "thread.ts": "console.log(2)"
      })
  })

  it("the module of a worker", () =>
    changes(
      folder({
        "w.ts": stage(
          `import { Worker } from "node:worker_threads"`,
          `new Worker(new URL("./thread.ts", import.meta.url))`
        ),
        "thread.ts": `import { v } from "./c.ts"\nconsole.log(v)`,
        "c.ts": "export const v = 4"
      }),
      { "c.ts": "export const v = 8" }
    ))

  it("names of classes and functions, getters, thrown texts", async () => {
    const project = folder({
      "w.ts": stage(`import { Foo, o } from "./c.ts"`, "Foo.name + o.g"),
      "c.ts": "export class Foo {}\nexport const o = { get g() { return 4 } }"
    })
    await changes(project, { "c.ts": "class Bar {}\nexport { Bar as Foo }\nexport const o = { get g() { return 4 } }" })
    await changes(project, { "c.ts": "class Bar {}\nexport { Bar as Foo }\nexport const o = { get g() { return 8 } }" })
  })

  it("code that a declaration calls, although the caller is a name like Data", () =>
    changes(
      folder({
        "w.ts": stage(`import { Data } from "./c.ts"\nconst made = Data.of(4)`, "globalThis.v"),
        "c.ts": "export const Data = { of: x => { globalThis.v = x } }"
      }),
      { "c.ts": "export const Data = { of: x => { globalThis.v = 2 * x } }" }
    ))

  it("what runs while a module is loaded, by way of a library that mostly declares", async () => {
    for (const made of [
      "Effect.runSync(Effect.sync(() => { globalThis.v = 1 }))",
      "Effect.sync(() => { globalThis.v = 1 }).pipe(Effect.runSync)",
      "Effect.sync(() => { globalThis.v = 1 }).pipe(Effect.map(x => x), Effect.runSync)",
      "Schema.decodeUnknownSync(Schema.String.check(Schema.makeFilter(() => { globalThis.v = 1 })))('')",
      "[1].map(() => { globalThis.v = 1 })",
      "new (class { constructor() { globalThis.v = 1 } })()",
      "(() => { globalThis.v = 1 })()",
      "`${{ toString() { globalThis.v = 1 } }}`",
      "({ ...{ get x() { globalThis.v = 1 } } })",
      "class { static x = (globalThis.v = 1) }",
      "class { static { globalThis.v = 1 } }",
      "class { [(globalThis.v = 1, 'x')]() {} }"
    ])
      await changes(folder({ "w.ts": stage(`const made = ${made}`, "globalThis.v") }), {
        "w.ts": stage(`const made = ${made.replace("globalThis.v = 1", "globalThis.v = 2")}`, "globalThis.v")
      })
  })

  it("what an own data object's accessor does, although nobody uses its value", () =>
    changes(
      folder({
        "w.ts": stage(`import { y } from "./y.ts"\nimport "./e.ts"`, "globalThis.v"),
        "o.ts": "export const o = { x: 1 }",
        "e.ts": `import { o } from "./o.ts"\nObject.defineProperty(o, "x", { get: () => { globalThis.v = 1 } })`,
        "y.ts": `import "./e.ts"\nimport { o } from "./o.ts"\nexport const y = o.x`
      }),
      { "y.ts": `import "./e.ts"\nexport const y = 1` }
    ))

  it("modules of a cycle, whose values depend on who comes first", () =>
    changes(
      folder({
        "w.ts": stage(`import { a } from "./a.ts"`, "a"),
        "a.ts": `import { b } from "./b.ts"\nexport var v = 1\nexport const a = b`,
        "b.ts": `import { v } from "./a.ts"\nexport const b = v`
      }),
      { "w.ts": stage(`import "./b.ts"\nimport { a } from "./a.ts"`, "a") }
    ))

  it("a declared file, and one of a declared directory", async () => {
    const project = folder({ "w.ts": stage("", "1"), "prompt.txt": "a", "data/b.txt": "b" })
    await changes(project, { "prompt.txt": "b" }, { files: ["./prompt.txt"] })
    await changes(project, { "data/c.txt": "" }, { files: ["./data"] })
  })

  it.skipIf(process.platform === "win32")(
    "a file that a stage declares cannot be a pipe, whose content nobody knows",
    async () => {
      const project = folder({ "w.ts": stage("", "1") })
      execFileSync("mkfifo", [join(project.root, "pipe")])
      const failed = await compute(project, { files: ["./pipe"] }).catch(String)
      assert.match(String(failed), /its files name \.\/pipe, but .*\/pipe is neither a file nor a directory/)
    }
  )
})

describe("a package counts", () => {
  const using = { "w.ts": stage(`import { v } from "p"`, "v") }

  it("by its content where no lock covers it, every file of it", async () => {
    const project = folder({ ...using, ...packages("1.0.0") })
    await changes(project, { "node_modules/p/i.js": "export const v = 2" })
    await changes(project, { "node_modules/p/native.node": "" })
  })

  it("by its locked version, wherever the lock of whatever package manager lies", async () => {
    const npm = (version: string) =>
      JSON.stringify({ packages: { "node_modules/p": { version, integrity: `sha512-${version}` } } })
    const locks: { readonly [file: string]: (version: string) => string } = {
      "node_modules/.package-lock.json": npm,
      "package-lock.json": npm,
      "pnpm-lock.yaml": version => `packages:\n\n  p@${version}:\n    resolution: {integrity: sha512-${version}}\n`,
      "yarn.lock": version =>
        `# yarn\n\np@^1.0.0:\n  version "${version}"\n  resolved "https://r/p/-/p-${version}.tgz#1"\n  integrity sha512-${version}\n`,
      "bun.lock": version => `{ "packages": {\n    "p": ["p@${version}", "", {}, "sha512-${version}"],\n} }`
    }
    for (const [file, text] of Object.entries(locks)) {
      // The stage lies in a member of a workspace, the packages above it.
      const project = folder({
        ...packages("1.0.0"),
        [file]: text("1.0.0"),
        "member/package.json": `{ "type": "module" }`,
        "member/w.ts": using["w.ts"]
      })
      const target = { file: join(project.root, "member", "w.ts") }
      assert.deepStrictEqual((await compute(project, target)).packages["p"], "1.0.0", file)
      await changes(project, { ...packages("1.0.1"), [file]: text("1.0.1") }, target)
      assert.deepStrictEqual((await compute(project, target)).packages["p"], "1.0.1", file)
      // Installed by hand over what the lock says, it counts by its content.
      await changes(project, packages("1.0.2"), target)
      assert.include((await compute(project, target)).packages["p"], "content", file)
      // Another archive under the same version.
      await changes(
        project,
        { ...packages("1.0.1"), [file]: text("1.0.1").replace("sha512-1.0.1", "sha512-other") },
        target
      )
    }
  })

  it("with its peers and its installed optional dependencies", async () => {
    for (const field of ["peerDependencies", "optionalDependencies", "dependencies"]) {
      const project = folder({
        ...using,
        ...packages("1.0.0", { [field]: { q: "*", absent: "*" } }),
        "node_modules/q/package.json": `{ "name": "q", "version": "1.0.0" }`,
        "node_modules/q/index.js": "module.exports = 1"
      })
      await changes(project, { "node_modules/q/index.js": "module.exports = 2" })
    }
  })

  it("by its modules when it is a link to somewhere else, wherever the link leads", async () => {
    const project = folder({ ...using })
    for (const place of ["one", "two"])
      project.write({
        [`${place}/package.json`]: `{ "name": "p", "version": "1.0.0", "type": "module", "exports": "./i.ts" }`,
        [`${place}/i.ts`]: `import { c } from "./c.ts"\nexport const v = c`,
        [`${place}/c.ts`]: `export const c = "${place}"`
      })
    project.link("node_modules/p", "../one")
    await changes(project, { "one/c.ts": "export const c = 8" })
    assert.deepStrictEqual(await after(project, () => project.link("node_modules/p", "../two")), {
      noticed: true,
      changed: true
    })
  })

  it("by pnpm's lock and links", async () => {
    const install = (project: Folder, version: string, peer: string) => {
      const place = `node_modules/.pnpm/p@${version}(q@${peer})/node_modules/p`
      for (const [path, text] of Object.entries(packages(version, { peerDependencies: { q: "*" } })))
        project.write({ [path.replace("node_modules/p", place)]: text })
      project.write({
        [`${place}/../q/package.json`]: JSON.stringify({ name: "q", version: peer }),
        "node_modules/.pnpm/lock.yaml": `packages:\n\n  p@${version}:\n    resolution: {integrity: sha512-${version}}\n\n  q@${peer}:\n    resolution: {integrity: sha512-${peer}}\n`
      })
      project.link("node_modules/p", place.slice("node_modules/".length))
    }
    const project = folder(using)
    install(project, "1.0.0", "1.0.0")
    assert.deepStrictEqual((await compute(project)).packages["p"], "1.0.0")
    for (const [version, peer] of [
      ["1.0.1", "1.0.0"],
      ["1.0.1", "2.0.0"]
    ] as const)
      assert.deepStrictEqual(await after(project, () => install(project, version, peer)), {
        noticed: true,
        changed: true
      })
  })

  it("by the one that is nearest", async () => {
    const project = folder({ "a/package.json": `{ "type": "module" }`, "a/w.ts": using["w.ts"], ...packages("1.0.0") })
    const nearer = Object.fromEntries(Object.entries(packages("2.0.0")).map(([path, text]) => [`a/${path}`, text]))
    await changes(project, nearer, { file: join(project.root, "a", "w.ts") })
  })

  it("only where it is reached, if loading it does nothing", async () => {
    const files = { "w.ts": stage(`import { v } from "p"\nexport const other = () => v`, "1"), ...packages("1.0.0") }
    await changesNothing(folder(files), packages("1.0.1"))
    const effect = { "node_modules/p/i.js": "export const v = 1; globalThis.v = 1" }
    await changes(folder({ ...files, ...effect }), { "node_modules/p/i.js": "export const v = 1; globalThis.v = 2" })
  })
})

describe("a package counts also", () => {
  const lock = (...names: ReadonlyArray<string>) =>
    JSON.stringify({
      packages: Object.fromEntries(
        names.map(name => [`node_modules/${name}`, { version: "1.0.0", integrity: `sha512-${name}` }])
      )
    })
  const using = {
    "w.ts": stage(`import { v } from "p"`, "v"),
    ...packages("1.0.0"),
    "package-lock.json": lock("p", "q")
  }

  it("by its content below a lock, where it has few files: an edit by hand is seen", async () => {
    await changes(folder(using), { "node_modules/p/i.js": "export const v = 2" })
    await changes(folder(using), { "node_modules/p/data/more.txt": "" })
  })

  it("by its content where it has many files, and something says that it is patched", async () => {
    const many = Object.fromEntries(Array.from({ length: 301 }, (_, i) => [`node_modules/p/${i}.txt`, ""]))
    const edit = { "node_modules/p/i.js": "export const v = 2" }
    await changesNothing(folder({ ...using, ...many }), edit)
    const yarn = (how: string) =>
      `__metadata:\n  version: 8\n\n"p@npm:1.0.0":\n  version: 1.0.0\n  resolution: "p@npm:1.0.0"\n  checksum: 10c0/abc\n\n"p@${how}":\n  version: 1.0.0\n  resolution: "p@${how}"\n  checksum: 10c0/def\n`
    const signs: ReadonlyArray<{ readonly [path: string]: string }> = [
      { "package.json": `{ "type": "module", "scripts": { "postinstall": "patch-package" } }` },
      { "package.json": `{ "type": "module", "pnpm": { "patchedDependencies": { "p@1.0.0": "p.patch" } } }` },
      { "package.json": `{ "type": "module", "patchedDependencies": { "p@1.0.0": "p.patch" } }` },
      { "patches/p+1.0.0.patch": "" },
      { "package-lock.json": "{}", "yarn.lock": yarn("patch:p@npm%3A1.0.0#~/.yarn/patches/p.patch") },
      { "package-lock.json": "{}", "yarn.lock": yarn("portal:./p::locator=u") },
      {
        "package-lock.json": "{}",
        "bun.lock": `{ "patchedDependencies": { "p@1.0.0": "p.patch" },\n  "packages": {\n    "p": ["p@1.0.0", "", {}, "sha512-p"],\n} }`
      },
      {
        "package-lock.json": "{}",
        "pnpm-lock.yaml": `patchedDependencies:\n  p@1.0.0:\n    hash: abc\n\npackages:\n\n  p@1.0.0:\n    resolution: {integrity: sha512-p}\n`
      }
    ]
    const project = folder({ ...using, ...many })
    for (const sign of signs) {
      project.write(sign)
      assert.include((await compute(project)).packages["p"], "content", JSON.stringify(sign))
      for (const path of Object.keys(sign)) rmSync(join(project.root, path))
      project.write({ ...using, "package.json": `{ "type": "module" }` })
    }
  })

  it("with another that appears nearer to it, or where a link begins to lead elsewhere, whatever its lock says", async () => {
    const files = {
      ...using,
      ...packages("1.0.0", { dependencies: { q: "*" } }),
      "node_modules/q/package.json": `{ "name": "q", "version": "1.0.0" }`,
      "node_modules/q/index.js": "module.exports = 1"
    }
    await changes(folder(files), {
      "node_modules/p/node_modules/q/package.json": `{ "name": "q", "version": "1.0.0" }`,
      "node_modules/p/node_modules/q/index.js": "module.exports = 2"
    })
    const project = folder({
      ...files,
      "other/q/package.json": `{ "name": "q", "version": "1.0.0" }`,
      "other/q/index.js": "module.exports = 2"
    })
    const turned = await after(project, () => {
      rmSync(join(project.root, "node_modules/q"), { recursive: true })
      project.link("node_modules/q", "../other/q")
    })
    assert.deepStrictEqual(turned, { noticed: true, changed: true })
  })

  it("where it only does something when it is loaded from now on", () =>
    changes(folder({ ...using, "w.ts": stage(`import "p"`, "globalThis.v") }), {
      "node_modules/p/i.js": "globalThis.v = 2"
    }))

  it("where it is imported without being reached, and something is loaded under a computed name", async () => {
    const imports = `import { v } from "p"\nexport const other = () => v\nconst load = (name) => import(name)`
    await changes(folder({ ...using, "w.ts": stage(imports, `load("p")`) }), {
      "node_modules/p/i.js": "export const v = 2"
    })
  })

  it("where the stage lists its folder, with what it depends on", async () => {
    const files = { ...using, "w.ts": stage("", "1"), ...packages("1.0.0", { dependencies: { q: "*" } }) }
    const project = folder({
      ...files,
      "node_modules/q/package.json": `{ "name": "q", "version": "1.0.0" }`,
      "node_modules/q/index.js": "module.exports = 1"
    })
    await changes(project, { "node_modules/q/index.js": "module.exports = 2" }, { files: ["node_modules/p"] })
  })
})

describe("nothing changes with", () => {
  const project = () =>
    folder({
      "w.ts": stage(`import { v } from "./c.ts"`, "v()"),
      "c.ts":
        "export const v = () => { return 4 }\nexport const unused = 1\n/** Seven. */\nclass Unused { readonly x = 7 }"
    })

  it("comments, layout, types, code that is never reached, the order of imports, a touched file", async () => {
    await changesNothing(project(), { "c.ts": "// A comment.\nexport const v = () => { return 4 }" })
    await changesNothing(project(), { "c.ts": "export const v =\n\n () => {\n  return (4);\n}" })
    await changesNothing(project(), {
      "c.ts": "export const v = (): number => { return 4 as number }\nexport type T = 1"
    })
    await changesNothing(project(), {
      "c.ts": "export const v = () => { return 4; console.log(1) }\nexport const other = () => 9"
    })
    await changesNothing(project(), { "c.ts": "export const v = () => { if (false) return 5; return 4 }" })
    const both = folder({
      "w.ts": stage(`import { a } from "./a.ts"\nimport { b } from "./b.ts"`, "a + b"),
      "a.ts": "export const a = 1",
      "b.ts": "export const b = 2"
    })
    await changesNothing(both, { "w.ts": stage(`import { b } from "./b.ts"\nimport { a } from "./a.ts"`, "a + b") })
    const touched = project()
    const { noticed } = await after(touched, () => utimesSync(join(touched.root, "c.ts"), new Date(), new Date(0)))
    assert.isFalse(noticed)
  })

  it("the place of the folder", async () => {
    const one = project()
    const before = await compute(one)
    const moved = `${one.root}-moved`
    onTestFinished(() => rmSync(moved, { recursive: true, force: true }))
    cpSync(one.root, moved, { recursive: true })
    assert.strictEqual((await compute({ ...one, root: moved })).digest, before.digest)
  })

  it("a declaration that nothing uses, beside one that does something", async () => {
    const project = (more: string) => ({
      "w.ts": stage(`import "./c.ts"`, "globalThis.v"),
      "c.ts": `const one = () => 1\n${more}\nglobalThis.v = one()`
    })
    await changesNothing(folder(project("export const unused = () => 2")), project("export const unused = () => 3"))
    await changesNothing(folder(project("")), project("export class Unused { x = 3 }"))
    await changes(folder(project("const two = globalThis.x")), project("const two = globalThis.y"))
    await changes(folder(project("")), { "c.ts": project("")["c.ts"].replace("1", "2") })
    // What `eval` sees counts.
    const seen = (value: number) => project(`const seen = ${value}\nglobalThis.w = eval("seen")`)
    await changes(folder(seen(1)), seen(2))
  })

  it("what the stage asks of whoever runs it", async () => {
    const asks = (options: string, imports = "", value = "1") =>
      folder({ "w.ts": stage(imports, value, options), "c.ts": "export const hour = 3600" })
    const options = `description: "one", timeout: 60 * 60, retries: { transient: 1 }, resources: { cpus: 1 }, process: "own",`
    const nothingWith = (text: string, imports = "") =>
      changesNothing(asks(options, imports), { "w.ts": stage(imports, "1", text) })
    await nothingWith("")
    await nothingWith(options.replace("60 * 60", "7"))
    await nothingWith(options.replace("one", "two"))
    await nothingWith(options.replace("transient: 1", "crashed: 2"))
    await nothingWith(options.replace("{ cpus: 1 }", "({ method }) => ({ cpus: method.length })"))
    await nothingWith(
      `"timeout": hour, resources,`,
      `import { hour } from "./c.ts"\nconst resources = () => ({ cpus: hour })`
    )
    const imported = `import { hour } from "./c.ts"`
    await changesNothing(asks("timeout: hour,", imported), { "c.ts": "export const hour = 60" })
    // Where the module counts as a whole, too.
    const lively = "globalThis.v = 1"
    await changesNothing(asks("timeout: 1,", lively), { "w.ts": stage(lively, "1", "timeout: 2,") })
    // What is said in the options of something else is code.
    const other = "const make = (name: string, options: { timeout: number }) => options.timeout"
    const uses = (seconds: number) => ({ "w.ts": stage(other, `make("a", { timeout: ${seconds} })`, "timeout: 1,") })
    await changes(folder(uses(1)), uses(2))
    const twice = (seconds: number) => ({
      "w.ts": stage(
        `${other}\nconst Stage2 = { make }\nconst limit = Stage2.make("a", { timeout: ${seconds} })`,
        "limit"
      )
    })
    await changes(folder(twice(1)), twice(2))
    // So is what does something.
    const acts = (value: number) => ({ "w.ts": stage("", "globalThis.v", `timeout: (globalThis.v = ${value}),`) })
    await changes(folder(acts(1)), acts(2))
  })

  it("what another stage of the file does, in a file of schemas, helpers and a pipeline", async () => {
    const node = `import { createRequire } from "node:module"\nimport { dirname } from "node:path"\nimport { fileURLToPath } from "node:url"`
    const file = (value: number) => `${stage(node, "1")}
const quick = process.env["QUICK"] === "1", many = Number(process.env.MANY ?? "3")
const here = dirname(fileURLToPath(import.meta.url)), beside = new URL("./x.txt", import.meta.url), load = createRequire(import.meta.url)
const Fields = { a: Schema.String.check(Schema.isPattern(/x/)), b: Schema.optionalKey(Schema.Int) }
const field = (schema, text) => schema.annotate({ description: text })
export class Wrong extends Schema.TaggedError()("Wrong", { message: Schema.String }) {}
export const Settings = Schema.Struct({ ...Fields, c: field(Schema.Int, "A number") })
export const other = Stage.make("other", { inputs: {}, parameters: Settings, outputs: { t: T }, resources: () => ({ cpus: 1 }),
  run: Effect.fn("other")(function* () { yield* Effect.succeed(${value}) }) })`
    await changesNothing(folder({ "w.ts": file(1) }), { "w.ts": file(2) })
  })
})

describe("methods", () => {
  const methods = { by: "method", modules: { a: "./a.ts", b: ["./b.ts", "./settings.ts"] } }
  const files = {
    "w.ts": stage(
      `import { describe } from "./settings.ts"\nconst all = { a: () => import("./a.ts"), b: () => import("./b.ts") }`,
      "[all, describe]",
      "",
      "method"
    ),
    "a.ts": "export const run = () => 1",
    "b.ts": `import { x } from "./shared.ts"\nexport const run = () => x`,
    "settings.ts": "export const describe = () => 1",
    "shared.ts": "export const x = 2"
  }
  const of = (method: string) => ({ export: "method", methods, method })

  it("count where they are chosen, also of a stage that is exported as `method`", async () => {
    await changes(folder(files), { "b.ts": "export const run = () => 3" }, of("b"))
    await changes(folder(files), { "settings.ts": "export const describe = () => 3" }, of("b"))
    await changesNothing(folder(files), { "b.ts": "export const run = () => 3" }, of("a"))
    await changesNothing(folder(files), { "settings.ts": "export const describe = () => 3" }, of("a"))
  })

  it("count where another method's module imports them", async () => {
    const crossed = { ...files, "a.ts": `export { run } from "./b.ts"` }
    await changes(folder(crossed), { "b.ts": "export const run = () => 3" }, of("a"))
    await changes(folder(crossed), { "shared.ts": "export const x = 3" }, of("a"))
  })
})

it("an edit that keeps size and time is seen, and one right after the look as well", async () => {
  const project = folder({ "w.ts": stage(`import { v } from "./c.ts"`, "v"), "c.ts": "export const v = 4" })
  const path = join(project.root, "c.ts")
  const { mtime } = statSync(path)
  const before = await compute(project)
  writeFileSync(`${path}.new`, "export const v = 8")
  utimesSync(`${path}.new`, mtime, mtime)
  renameSync(`${path}.new`, path)
  assert.isUndefined(Fingerprint.renewed(before))
  for (let i = 0; i < 20; i++) {
    const fingerprint = await compute(project)
    writeFileSync(path, `export const v = ${2 * i + 10}`)
    assert.isUndefined(Fingerprint.renewed(fingerprint))
    writeFileSync(path, `export const v = ${2 * i + 11}`)
  }
})

it("a module that cannot be read is named with its line", async () => {
  const project = folder({ "w.ts": stage(`import "./c.ts"`, "1"), "c.ts": "export const v = 4\nexport const = 5" })
  const error = await Effect.runPromise(
    Effect.flip(Fingerprint.compute({ file: join(project.root, "w.ts"), export: "say" }))
  )
  assert.include(error.message, `${join(project.root, "c.ts")}:2`)
  assert.isTrue(existsSync(project.root))
})

it("a stage behind an export that may be reassigned is refused: the action's process would find another one", async () => {
  for (const text of [`export let say = 1`, `let say = 1\nexport { say }`, "export function say() {}"]) {
    const project = folder({ "w.ts": text })
    const error = await Effect.runPromise(
      Effect.flip(Fingerprint.compute({ file: join(project.root, "w.ts"), export: "say" }))
    )
    assert.include(error.message, "must be exported as a constant")
  }
})
