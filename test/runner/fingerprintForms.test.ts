/** Rare forms of code that loads, names and runs other code: a fingerprint changes with all that they reach. */
import { describe, it } from "vitest"
import { changes, folder, packages, stage } from "../support/fingerprinted.ts"

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
})
