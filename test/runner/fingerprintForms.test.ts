/** Rare forms of code that loads, names and runs other code: a fingerprint changes with all that they reach. */
import { join } from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import { after, changes, compute, folder, packages, stage } from "../support/fingerprinted.ts"

describe("a change of it is seen:", () => {
  it("a package behind `export *` of a module that is used as an object", async () => {
    const uses = (imports: string, value: string, more: { readonly [path: string]: string } = {}) =>
      changes(
        folder({ ...packages("1.0.0"), "b.ts": `export * from "p"`, ...more, "w.ts": stage(imports, value) }),
        packages("2.0.0")
      )
    await uses("", `import("./b.ts")`)
    await uses(`import * as ns from "./b.ts"\nconst k = ["v"]`, "ns[k[0]]")
    await uses(`import * as ns from "./b.ts"\nconst { v } = ns`, "v")
    await uses(`import * as ns from "./b.ts"`, "Object.keys(ns)")
    await uses(`import { ns } from "./a.ts"`, "ns.v", { "a.ts": `export * as ns from "./b.ts"` })
    await uses("", `import("./a.ts")`, { "a.ts": `export * from "./b.ts"` })
    const make = `import { createRequire } from "node:module"\nconst require = createRequire(import.meta.url)`
    await uses(make, `require("./b.ts").v`)
    await uses("", `import("./b.ts")`, { "b.ts": `globalThis.t = 1; export * from "p"` })
  })

  it("what a module that may be loaded under a computed name exports, and imports", async () => {
    const z = `import { z } from "./b.ts"\nconst which = "b"`
    const files = { "c1.ts": "export const v = 1", "c2.ts": "export const v = 2" }
    const barrel = (n: number) => ({
      "b.ts": `import "./c1.ts"; import "./c2.ts"; export { v } from "./c${n}.ts"; export const z = 0`
    })
    const load = `[import("./" + which + ".ts"), z]`
    await changes(folder({ ...files, ...barrel(1), "w.ts": stage(z, load) }), barrel(2))
    const lib = { "b.ts": `export { v } from "p"; export const z = 0` }
    await changes(folder({ ...packages("1.0.0"), ...lib, "w.ts": stage(z, load) }), packages("2.0.0"))
    const seen = { "b.ts": `import { v } from "p"; export const f = () => eval("v")` }
    await changes(
      folder({ ...packages("1.0.0"), ...seen, "w.ts": stage(`import { f } from "./b.ts"`, "f()") }),
      packages("2.0.0")
    )
  })

  it("what is called under a name that elsewhere is a `require`", async () => {
    const req = (n: number) => ({ "c.ts": `export const req = s => s + ${n}` })
    const shadow = `import { createRequire } from "node:module"\nimport { req } from "./c.ts"
export const other = () => { const req = createRequire(import.meta.url); return req("node:fs") }`
    await changes(folder({ ...req(1), "w.ts": stage(shadow, `req("x")`) }), req(2))
    const own = (n: number) => ({ "c.ts": `export const createRequire = a => s => s + ${n}` })
    const use = `import { createRequire } from "./c.ts"\nconst r = createRequire("a")`
    await changes(folder({ ...own(1), "w.ts": stage(use, `r("x")`) }), own(2))
    await changes(folder({ ...own(1), "w.ts": stage(use, `r.resolve("x")`) }), own(2))
    const resolve = (n: number) => ({ "c.ts": `export const req = { resolve: () => ${n} }` })
    await changes(folder({ ...resolve(1), "w.ts": stage(shadow, `req.resolve("x")`) }), resolve(2))
  })

  it("what a `require` that is assigned later loads", async () => {
    const assigned = `import { createRequire } from "node:module"\nlet req; try { req = createRequire(import.meta.url) } catch {}`
    const project = folder({ "w.ts": stage(assigned, `req("./c.cjs").v`), "c.cjs": "exports.v = 1" })
    await changes(project, { "c.cjs": "exports.v = 2" })
    assert.deepStrictEqual((await compute(project)).computed, [])
  })

  it("another method's module that does something where it is imported", async () => {
    const methods = { by: "method", modules: { a: "./a.ts", b: "./b.ts" } }
    const w = stage(`import "./b.ts"\nconst all = () => [import("./a.ts"), import("./b.ts")]`, "[all, globalThis.zz]")
    const project = folder({ "w.ts": w, "a.ts": "export const v = 1", "b.ts": "export const v = 1; globalThis.zz = 1" })
    await changes(project, { "b.ts": "export const v = 1; globalThis.zz = 2" }, { methods, method: "a" })
    const named = folder({
      "w.ts": stage(`import { v } from "./b.ts"\nconst all = { a: () => import("./a.ts"), v }`, "[all, globalThis.zz]"),
      "a.ts": "export const v = 1",
      "b.ts": `export { v } from "./d.ts"`,
      "d.ts": "export const v = (globalThis.zz = 1)"
    })
    await changes(named, { "d.ts": "export const v = (globalThis.zz = 2)" }, { methods, method: "a" })
  })

  it("the name of a function behind parentheses, and the name of a file in CommonJS", async () => {
    const uses = (file: string, before: string, now: string) =>
      changes(folder({ "w.ts": stage(`import { f } from "./${file}"`, "f.name"), [file]: before }), { [file]: now })
    await uses("c.ts", "export let f: any; (f) = () => 1", "export let f: any; f = () => 1")
    await uses("c.ts", "export let f: any; (f as any) = () => 1", "export let f: any; f = () => 1")
    await uses("c.ts", "export let f: any; (f) ??= () => 1", "export let f: any; f ??= () => 1")
    await uses("c.ts", "export let f: any; [(f) = () => 1] = []", "export let f: any; [f = () => 1] = []")
    for (const name of ["module.filename", `require.resolve("./x.json")`, "arguments[3]", "(m => m.id)(module)"]) {
      const text = `exports.v = require("node:path").basename(${name})`
      const project = folder({ "x.json": "{}", "w.ts": stage(`import m from "./c1.cjs"`, "m.v"), "c1.cjs": text })
      await changes(project, { "w.ts": stage(`import m from "./c2.cjs"`, "m.v"), "c2.cjs": text })
    }
  })

  it("what a CommonJS module requires, although its comment speaks of import.meta", () =>
    changes(
      folder({
        "package.json": "{}",
        "w.ts": stage(`import m from "./c.js"`, "m.v"),
        "c.js": `// unlike import.meta.url\nmodule.exports = { v: require("./d.js").v }`,
        "d.js": "exports.v = 1"
      }),
      { "d.js": "exports.v = 2" }
    ))

  it("the directory that `require` means, and not the file beside it", async () => {
    for (const specifier of [".", "./", "../lib/", "../lib/."])
      await changes(
        folder({
          "w.ts": stage(`import m from "./lib/a.cjs"`, "m.v"),
          "lib.js": "exports.v = 99",
          "lib/package.json": `{ "type": "commonjs" }`,
          "lib/a.cjs": `module.exports = require("${specifier}")`,
          "lib/index": "exports.v = 99",
          "lib/index.js": "exports.v = 1"
        }),
        { "lib/index.js": "exports.v = 2" }
      )
  })

  it("a file that is named by a path relative to the module, whatever its ending", async () => {
    const idioms = `import { dirname, join } from "node:path"\nimport { fileURLToPath } from "node:url"
const here = dirname(fileURLToPath(import.meta.url)), file = "./c.mjs", base = new URL(".", import.meta.url)`
    for (const value of [
      `join(here, "c.mjs")`,
      `new URL(file, import.meta.url)`,
      `new URL("c.mjs", base)`,
      "`${here}/${file}`",
      `here + "/" + "c.mjs"`,
      `fileURLToPath(new URL(true ? "c.mjs" : "d.mjs", import.meta.url))`,
      `join(here, here.length > 1 ? file : "d.mjs")`
    ])
      await changes(folder({ "w.ts": stage(idioms, value), "c.mjs": "console.log(1)" }), { "c.mjs": "console.log(2)" })
    for (const name of ["c.pl", "c.bash", "c", "c.txt"])
      await changes(folder({ "w.ts": stage("", `new URL("./${name}", import.meta.url).pathname`), [name]: "1" }), {
        [name]: "2"
      })
    const absent = folder({ "w.ts": stage("", `new URL("./c.txt", import.meta.url).pathname`) })
    await changes(absent, { "c.txt": "1" })
    const lib = folder({
      ...packages("1.0.0"),
      "w.ts": stage("", `new URL("./node_modules/p/i.js", import.meta.url).pathname`)
    })
    await changes(lib, packages("2.0.0"))
  })

  it("the conditions that Node is started with, although nothing on disk changed", async () => {
    const imports = `{ "type": "module", "imports": { "#c": { "dev": "./d.ts", "default": "./c.ts" } } }`
    const files = { "package.json": imports, "c.ts": "export const v = 1", "d.ts": "export const v = 2" }
    const before = process.env["NODE_OPTIONS"]
    onTestFinished(() => {
      if (before === undefined) delete process.env["NODE_OPTIONS"]
      else process.env["NODE_OPTIONS"] = before
    })
    for (const w of [stage(`import { v } from "#c"`, "v"), stage(`import { v } from "p"`, "v")]) {
      delete process.env["NODE_OPTIONS"]
      const project = folder({ ...files, ...packages("1.0.0"), "w.ts": w })
      const turned = await after(project, () => void (process.env["NODE_OPTIONS"] = "--conditions=dev"))
      assert.deepStrictEqual(turned, { noticed: true, changed: true })
    }
  })

  it("all that lies in a declared directory: behind links, in node_modules, and modules that are loaded by name", async () => {
    const project = folder({
      "w.ts": stage(`const n = "a"`, `import("./data/" + n + ".ts")`),
      "real/c.txt": "1",
      "data/node_modules/c.txt": "1",
      "data/a.ts": `import { b } from "../b.ts"\nexport const a = b`,
      "data/broken.js": "no code",
      "b.ts": "export const b = 1"
    })
    project.link("data/l", "../real")
    project.link("data/self", ".")
    project.link("data/nowhere", "../later.txt")
    const files = { files: ["data"] }
    await changes(project, { "real/c.txt": "2" }, files)
    await changes(project, { "data/node_modules/c.txt": "2" }, files)
    await changes(project, { "b.ts": "export const b = 2" }, files)
    await changes(project, { "later.txt": "2" }, files)
    const loadable = (await compute(project, files)).loadable.map(([path]) => path)
    assert.include(loadable, join(project.root, "data", "a.ts"))
  })

  it("what runs although it looks like a declaration", async () => {
    const head = `import { Effect, Schema } from "dllm-pipeline"\nexport const s = { n: 1 }\n`
    const klass = (member: string) => `class A extends Schema.Class("A")({}) { ${member} }`
    for (const text of [
      ...["mapEager", "flatMapEager", "catchEager", "matchEager", "mapErrorEager", "mapBothEager"].map(
        name => `const a = Effect.${name}(Effect.succeed(1), () => (s.n = 7))`
      ),
      `const a = Effect.succeed(1).pipe(Effect.mapEager(() => (s.n = 7)))`,
      `const a = Effect.fnUntracedEager(function* () { s.n = 7 })`,
      `${klass("static annotate(x) { s.n = 7; return A }")}; const b = A.annotate({})`,
      `${klass("static get foo() { s.n = 7; return 1 }")}; const b = A.foo`,
      `${klass("static get ast() { s.n = 7; return Schema.Int.ast }")}; const c = Schema.optional(A)`,
      `${klass("static get ast() { s.n = 7; return Schema.Int.ast }")}; class B extends A {}; const c = Schema.optional(B)`,
      `class A { static get ast() { s.n = 7; return Schema.Int.ast } }; const c = Schema.Struct({ a: A })`,
      `let f = x => x; const swap = () => { f = x => { s.n = x } }; export const k = swap; const y = f(7)`
    ])
      await changes(folder({ "w.ts": stage(`import { s } from "./c.ts"`, "s.n"), "c.ts": head + text }), {
        "c.ts": head + text.replace("7", "8")
      })
    const own = (n: number) => ({
      "c.ts": `import { Effect } from "effect"\nexport const s = { n: 1 }\nconst a = Effect.succeed(() => (s.n = ${n}))`
    })
    const effect = {
      "node_modules/effect/package.json": `{ "name": "effect", "version": "4.1.0", "type": "module", "exports": "./i.js" }`,
      "node_modules/effect/i.js": "export const Effect = { succeed(f) { return f() } }"
    }
    await changes(folder({ ...own(7), ...effect, "w.ts": stage(`import { s } from "./c.ts"`, "s.n") }), own(8))
    const zz = (imports: string) => stage(imports, "globalThis.zz")
    const swap = {
      "w.ts": zz(`import { swap } from "./m.ts"\nimport "./k.ts"\nimport "./c.ts"`),
      "m.ts":
        "export function f(x: number) { return x }\nexport const swap = () => { (f as any) = (x: number) => { globalThis.zz = x } }",
      "k.ts": `import { swap } from "./m.ts"; swap()`
    }
    const called = (n: number) => ({ "c.ts": `import { f } from "./m.ts"; const y = f(${n})` })
    await changes(folder({ ...swap, ...called(7) }), called(8))
    const freeze = `Object.defineProperty(Object, "freeze", { value: (o: any) => { globalThis.zz = o.x; return o } })`
    const frozen = (n: number) => ({ "c.ts": `const m = Object.freeze({ x: ${n} })` })
    await changes(folder({ "w.ts": zz(`import "./e.ts"\nimport "./c.ts"`), "e.ts": freeze, ...frozen(7) }), frozen(8))
  })
})
