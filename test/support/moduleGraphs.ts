/** Small programs of many modules, all forms of import and export in them, and random edits: what fingerprints are tested on. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

/** Numbers from a seed. */
export const makeRandom = (seed: number) => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (count: number) => Math.floor(next() * count)
  return {
    below,
    chance: (share: number) => next() < share,
    pick: <A>(list: ReadonlyArray<A>): A => list[below(list.length)]!
  }
}
export type Random = ReturnType<typeof makeRandom>

type Kind =
  | "literal"
  | "sum"
  | "let"
  | "function"
  | "arrow"
  | "class"
  | "object"
  | "effect"
  | "ordered"
  | "maker"
  | "call"
  | "frozen"
  | "text"
const kinds: ReadonlyArray<Kind> = [
  ...([
    "literal",
    "literal",
    "sum",
    "let",
    "function",
    "function",
    "arrow",
    "class",
    "object",
    "maker",
    "call",
    "frozen",
    "text"
  ] as const),
  ...(["effect", "ordered"] as const)
]

/** A name that a module declares. */
interface Declared {
  name: string
  kind: Kind
  value: number
  /** The number in code that is never reached. */
  dead: number
  /** Another name that it uses: of its own module, declared before, or of another one. */
  uses: { module: number; declared: number; form: Form } | undefined
  comment: string
  annotated: boolean
  /** Exported under another name at the end of the file. */
  alias: boolean
}

type Form = "query" | "required" | "named" | "renamed" | "namespace" | "barrel" | "self" | "internal" | "reexported"
const forms: ReadonlyArray<Form> = [
  "query",
  "required",
  "named",
  "renamed",
  "namespace",
  "barrel",
  "self",
  "internal",
  "reexported"
]

interface ModuleOf {
  extension: "ts" | "mts" | "js" | "mjs"
  declared: Array<Declared>
  /** Statements that do something. */
  effects: Array<number>
  /** Modules imported for their effect, or for a type alone, or for a name that is not used. */
  bare: Array<{ module: number; how: "effect" | "type" | "inline type" | "unused" }>
  comment: string
  turned: boolean
  typeText: string
}

export interface World {
  modules: Array<ModuleOf>
  /** What the entry returns. */
  shown: Array<{ module: number; declared: number; form: Form | "dynamic" }>
  /** Barrel `i` leads to module `i`, or to its twin, which has the same names and other values. */
  twins: Array<boolean>
  json: number
  common: number
  deep: number
  table: number
  linked: number
  inner: number
  linkTurned: boolean
  locked: number
  peer: number
  plain: number
  hoisted: number
  shadow: number | undefined
  picks: number
  library: number
  worker: number
  file: number
  waits: boolean
  cycle: boolean
  renames: number
  star: number
  beside: number
  detected: number
  again: number
  uses: {
    rare: boolean
    json: boolean
    common: boolean
    linked: boolean
    packages: boolean
    library: boolean
    worker: boolean
  }
}

const fileOf = (world: World, index: number) => `m${index}.${world.modules[index]!.extension}`

const declare = (world: World, module: number, random: Random): Declared => {
  const before = world.modules[module]!.declared
  const later = world.modules.length - 1 - module
  const uses = (): Declared["uses"] => {
    if (before.length > 0 && random.chance(0.3)) return { module, declared: random.below(before.length), form: "self" }
    if (later === 0 || random.chance(0.3)) return undefined
    const target = module + 1 + random.below(later)
    const count = world.modules[target]!.declared.length
    return count === 0
      ? undefined
      : { module: target, declared: random.below(count), form: random.pick(forms.filter(form => form !== "self")) }
  }
  return {
    name: `n${module}_${before.length}`,
    kind: random.pick(kinds),
    value: random.below(9),
    dead: random.below(9),
    uses: uses(),
    comment: "",
    annotated: false,
    alias: random.chance(0.2)
  }
}

export const makeWorld = (random: Random): World => {
  const count = 3 + random.below(3)
  /** Modules that do something when they are loaded are few in most programs, and many in some. */
  const lively = random.pick([0.05, 0.1, 0.5])
  const world: World = {
    modules: Array.from({ length: count }, () => ({
      extension: random.pick(["ts", "ts", "mts", "js", "mjs"] as const),
      declared: [],
      effects: [],
      bare: [],
      comment: "",
      turned: false,
      typeText: "number"
    })),
    shown: [],
    twins: Array.from({ length: count }, () => false),
    json: 1,
    common: 1,
    deep: 1,
    table: 1,
    linked: 1,
    inner: 1,
    linkTurned: false,
    locked: 1,
    peer: 1,
    plain: 1,
    hoisted: 1,
    shadow: undefined,
    picks: random.below(count),
    library: 1,
    worker: 1,
    file: 1,
    waits: random.chance(0.1),
    cycle: random.chance(0.15),
    renames: 0,
    star: 1,
    beside: 1,
    detected: 1,
    again: 0,
    uses: {
      rare: random.chance(0.4),
      json: random.chance(0.3),
      common: random.chance(0.3),
      linked: random.chance(0.3),
      packages: random.chance(0.5),
      library: random.chance(0.4),
      worker: random.chance(0.15)
    }
  }
  for (let module = count - 1; module >= 0; module--) {
    const own = world.modules[module]!
    for (let i = 1 + random.below(4); i > 0; i--) own.declared.push(declare(world, module, random))
    if (random.chance(lively)) own.effects.push(random.below(9), random.below(9))
    if (module < count - 1 && random.chance(0.4))
      own.bare.push({
        module: module + 1 + random.below(count - 1 - module),
        how: random.pick(["effect", "type", "inline type", "unused"] as const)
      })
  }
  for (let i = 2 + random.below(5); i > 0; i--) {
    const module = random.below(count)
    world.shown.push({
      module,
      declared: random.below(world.modules[module]!.declared.length),
      form: random.chance(0.2) ? "dynamic" : random.pick(forms.filter(form => form !== "self"))
    })
  }
  return world
}

/** How a name is used, by what it is. */
const used = (kind: Kind, name: string): string => {
  switch (kind) {
    case "function":
    case "arrow":
      return `${name}()`
    case "class":
      return `(${name}.name + new ${name}().v)`
    case "object":
      return `${name}.g`
    case "frozen":
      return `${name}.a`
    case "maker":
      return `${name}(1).a`
    default:
      return name
  }
}

const exportedAs = ({ alias, name }: Declared) => (alias ? `${name}_x` : name)

class Imports {
  readonly lines: Array<string> = []
  readonly after: Array<string> = []
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  /** Makes a name usable, and says how. */
  use({ declared, form, module }: { module: number; declared: number; form: Form }): string {
    const target = this.#world.modules[module]!.declared[declared]!
    const exported = exportedAs(target)
    const file = `./${fileOf(this.#world, module)}`
    switch (form) {
      case "self":
        return used(target.kind, target.name)
      case "named":
        this.lines.push(`import { ${exported} } from "${file}"`)
        return used(target.kind, exported)
      case "query":
        this.lines.push(`import { ${exported} as q_${exported} } from "${file}?again"`)
        return used(target.kind, `q_${exported}`)
      case "required":
        this.lines.push(`import { createRequire as make } from "node:module"`)
        return used(target.kind, `make(import.meta.url)("${file}").${exported}`)
      case "renamed":
        this.lines.push(`import { ${exported} as r_${exported} } from "${file}"`)
        return used(target.kind, `r_${exported}`)
      case "namespace":
        this.lines.push(`import * as space${module} from "${file}"`)
        return used(target.kind, `space${module}.${exported}`)
      case "barrel":
        this.lines.push(`import { ${exported} as b_${exported} } from "./barrel${module}.ts"`)
        return used(target.kind, `b_${exported}`)
      case "reexported":
        this.lines.push(
          `import { default as d${module}_${declared}, renamed${declared} as x${module}_${declared} } from "./again${module}.ts"`
        )
        return `(typeof d${module}_${declared} + ${used(target.kind, `x${module}_${declared}`)})`
      case "internal":
        this.lines.push(`import { ${exported} as i_${exported} } from "#m${module}"`)
        return used(target.kind, `i_${exported}`)
    }
  }
}

const declaration = (imports: Imports, each: Declared, typescript: boolean): string => {
  const { dead, kind, name, value } = each
  const more = each.uses === undefined ? "" : ` + ${imports.use(each.uses)}`
  const type = typescript && each.annotated ? ": any" : ""
  const head = `${each.comment}${each.alias ? "" : "export "}`
  if (each.alias) imports.after.push(`export { ${name} as ${exportedAs(each)} }`)
  switch (kind) {
    case "literal":
      return `${head}const ${name}${type} = ${value}`
    case "sum":
      return `${head}const ${name}${type} = ${value}${more}`
    case "let":
      return `${head}let ${name}${type} = ${value}`
    case "text":
      return `${head}const ${name}${type} = \`text \${${value}}\`${more}`
    case "function":
      return `${head}function ${name}()${type} { const local = ${value}; return local${more}; log.push(${dead}) }`
    case "arrow":
      return `${head}const ${name}${type} = () => { if (false) return ${dead}; return ${value}${more} }`
    case "class":
      return `${head}class ${name} { v${type} = ${value}${more} }`
    case "object":
      return `${head}const ${name}${type} = { get g() { return ${value}${more} } }`
    case "frozen":
      return `${head}const ${name}${type} = Object.freeze({ a: ${value} })`
    case "maker":
      return `${head}const ${name}${type} = (x${type}) => { const y = { a: ${value} }; return y }`
    case "call":
      return `const make_${name} = (x${type}) => x * 2\n${head}const ${name}${type} = make_${name}(${value})`
    case "effect":
      return `${head}const ${name}${type} = (globalThis${typescript ? " as any" : ""}).log.push("${name} ${value}")`
    case "ordered":
      return `${head}const ${name}${type} = ${value} + (globalThis${typescript ? " as any" : ""}).log.length`
  }
}

const moduleText = (world: World, index: number, shift: number): string => {
  const own = world.modules[index]!
  const typescript = own.extension.endsWith("ts")
  const imports = new Imports(world)
  const bare = own.bare.flatMap(({ how, module }) => {
    const file = `./${fileOf(world, module)}`
    switch (how) {
      case "effect":
        return [`import "${file}"`]
      case "type":
        return typescript ? [`import type { T } from "${file}"`] : []
      case "inline type":
        return typescript ? [`import { type T as T${module} } from "${file}"`] : []
      case "unused":
        return [`import * as unused${module} from "${file}"`]
    }
  })
  const body = own.declared.map(each => declaration(imports, { ...each, value: each.value + shift }, typescript))
  const lines = [...new Set([...bare, ...imports.lines])]
  return [
    own.comment,
    ...(own.turned ? lines.toReversed() : lines),
    ...(typescript ? [`export type T = ${own.typeText}`] : []),
    ...body,
    ...own.effects.map(value => `globalThis.log.push("m${index} ${value}")`),
    ...(world.cycle && index === world.modules.length - 1 ? [`import "./m0.${world.modules[0]!.extension}"`] : []),
    ...(world.waits && index === world.modules.length - 2 ? ["await null"] : []),
    ...imports.after
  ].join("\n")
}

const entryText = (world: World): string => {
  const imports = new Imports(world)
  const values = world.shown.map(({ declared, form, module }) => {
    if (form !== "dynamic") return imports.use({ module, declared, form })
    const target = world.modules[module]!.declared[declared]!
    return used(target.kind, `(await import("./${fileOf(world, module)}")).${exportedAs(target)}`)
  })
  const { uses } = world
  if (uses.json) {
    imports.lines.push(`import data from "./data.json" with { type: "json" }`)
    values.push("data.value")
  }
  if (uses.common) {
    imports.lines.push(`import { createRequire } from "node:module"`)
    values.push(`createRequire(import.meta.url)("./old.cjs").value`)
  }
  if (uses.linked) {
    imports.lines.push(`import { linked } from "linked"`)
    values.push("linked")
  }
  if (uses.packages) {
    imports.lines.push(
      `import { locked } from "locked"`,
      `import { plain } from "plain"`,
      `import { hoisted } from "hoisted"`
    )
    values.push("locked", "plain", "hoisted")
  }
  if (uses.library) {
    imports.lines.push(`import { library } from "#lib/library"`, `import * as picked from "#pick"`)
    values.push("library", "Object.keys(picked).join()")
  }
  if (uses.rare) {
    imports.lines.push(
      `import { createRequire as maker } from "node:module"`,
      `import { dirname, join } from "node:path"`,
      `import { fileURLToPath } from "node:url"`,
      `import { known } from "./known.ts"`
    )
    values.push(
      `(await import("./stars.ts")).starred`,
      `readFileSync(join(here, "beside.pl"), "utf8")`,
      `late("./detected.cjs").value`,
      `known + (await import("./" + which + ".ts")).again`
    )
  }
  if (uses.worker)
    values.push(`await new Promise(done => new Worker(new URL("./thread.mjs", import.meta.url)).once("message", done))`)
  if (uses.worker) imports.lines.push(`import { Worker } from "node:worker_threads"`)
  return [
    ...new Set(imports.lines),
    "declare const log: any",
    ...(uses.rare
      ? [
          "const here = dirname(fileURLToPath(import.meta.url))",
          `const which = "known"`,
          "let late: any; try { late = maker(import.meta.url) } catch {}"
        ]
      : []),
    `export const say = async () => [${values.join(", ")}, readFileSync(new URL("./prompt.txt", import.meta.url), "utf8")]`,
    `import { readFileSync } from "node:fs"`,
    'export const other = () => import("./m0.none")'
  ].join("\n")
}

const lock = (...packages: ReadonlyArray<readonly [path: string, version: number]>) =>
  JSON.stringify({
    packages: Object.fromEntries(
      packages.map(([path, version]) => [path, { version: `${version}.0.0`, integrity: `sha512-${path}${version}` }])
    )
  })

const manifest = (name: string, version: number, more: object = {}) =>
  JSON.stringify({ name, version: `${version}.0.0`, type: "module", exports: "./index.js", ...more })

/** Every file of a world. */
export const filesOf = (world: World): ReadonlyMap<string, string> => {
  const files = new Map<string, string>()
  const app = (path: string, text: string) => files.set(`app/${path}`, text)
  for (const [index] of world.modules.entries()) {
    app(fileOf(world, index), moduleText(world, index, 0))
    const target = world.twins[index]! ? `./twin${index}.ts` : `./${fileOf(world, index)}`
    app(`barrel${index}.ts`, `export * from "${target}"`)
    app(
      `again${index}.ts`,
      [
        `export { ${world.modules[index]!.declared.map((each, i) => `${exportedAs(each)} as renamed${i}`).join(", ")} } from "${target}"`,
        `export default function () { return ${index} }`
      ].join("\n")
    )
    const twin = moduleText({ ...world, modules: world.modules.map(each => ({ ...each })) }, index, 10)
    app(`twin${index}.ts`, twin)
  }
  app("entry.ts", entryText(world))
  app("prompt.txt", String(world.file))
  const internal = Object.fromEntries(world.modules.map((_, i) => [`#m${i}`, `./${fileOf(world, i)}`]))
  app(
    "package.json",
    JSON.stringify({
      name: "app",
      type: "module",
      imports: { ...internal, "#lib/*": "./src/pipeline/*.ts", "#pick": `./${fileOf(world, world.picks)}` }
    })
  )
  app("src/pipeline/library.ts", `export const library = ${world.library}`)
  app("data.json", JSON.stringify({ value: world.json, unused: 1 }))
  app(
    "old.cjs",
    `const deep = require("./deep"); module.exports = { value: ${world.common} + deep.value + require("./table.json").value }`
  )
  app("deep.cjs", "")
  app("deep.js", "export {}")
  app("deep/index.cjs", "")
  app("deep/package.json", JSON.stringify({ main: "./main.cjs", type: "commonjs" }))
  app("deep/main.cjs", `exports.value = ${world.deep}`)
  files.delete("app/deep.js")
  app("table.json", JSON.stringify({ value: world.table }))
  app("stars.ts", `export * from "starred"`)
  app("node_modules/starred/package.json", manifest("starred", 1))
  app("node_modules/starred/index.js", `export const starred = ${world.star}`)
  app("beside.pl", String(world.beside))
  app("known.ts", `export { again } from "./known${world.again % 2}.ts"\nexport const known = 1`)
  for (const each of [0, 1]) app(`known${each}.ts`, `export const again = ${each}`)
  app("detected.cjs", `module.exports = { value: require("./detects").value }`)
  app("detects/package.json", "{}")
  app("detects/index.js", `// import.meta\nmodule.exports = { value: ${world.detected} }`)
  app("thread.mjs", `import { parentPort } from "node:worker_threads"\nparentPort.postMessage(${world.worker})`)
  for (const [name, shift] of [
    ["linked", 0],
    ["linked2", 5]
  ] as const) {
    files.set(`${name}/package.json`, manifest("linked", 1))
    files.set(
      `${name}/index.js`,
      `import { inner } from "./inner.js"\nexport const linked = ${world.linked + shift} + inner`
    )
    files.set(`${name}/inner.js`, `export const inner = ${world.inner}`)
  }
  app("node_modules/.package-lock.json", lock(["node_modules/locked", world.locked], ["node_modules/peer", world.peer]))
  app("node_modules/locked/package.json", manifest("locked", world.locked, { peerDependencies: { peer: "*" } }))
  app("node_modules/locked/index.js", `import { peer } from "peer"\nexport const locked = ${world.locked} * 100 + peer`)
  app("node_modules/peer/package.json", manifest("peer", world.peer))
  app("node_modules/peer/index.js", `export const peer = ${world.peer}`)
  app("node_modules/plain/package.json", manifest("plain", 1))
  app("node_modules/plain/index.js", `export { plain } from "./value.js"`)
  app("node_modules/plain/value.js", `export const plain = ${world.plain}`)
  if (world.shadow !== undefined) {
    app("node_modules/hoisted/package.json", manifest("hoisted", 1))
    app("node_modules/hoisted/index.js", `export const hoisted = ${world.shadow} + 1000`)
  }
  files.set("node_modules/.package-lock.json", lock(["node_modules/hoisted", world.hoisted]))
  files.set("node_modules/hoisted/package.json", manifest("hoisted", world.hoisted))
  files.set("node_modules/hoisted/index.js", `export const hoisted = ${world.hoisted}`)
  return files
}

/** Writes what differs from what was written before. */
export const writeFiles = (
  root: string,
  files: ReadonlyMap<string, string>,
  before: ReadonlyMap<string, string>,
  linkTurned: boolean
): void => {
  for (const path of before.keys()) if (!files.has(path)) rmSync(join(root, path))
  for (const [path, text] of files) {
    if (before.get(path) === text) continue
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  const link = join(root, "app", "node_modules", "linked")
  mkdirSync(dirname(link), { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(linkTurned ? "../../linked2" : "../../linked", link)
}

/** Names of the edits, so that a counterexample tells what was done. */
export type Edit = (world: World, random: Random) => void

const someDeclared = (world: World, random: Random): Declared => random.pick(random.pick(world.modules).declared)

export const edits: { readonly [name: string]: Edit } = {
  value: (world, random) => void (someDeclared(world, random).value += 1 + random.below(3)),
  "value again": (world, random) => void (someDeclared(world, random).value += 1),
  dead: (world, random) => void (someDeclared(world, random).dead += 1),
  comment: (world, random) => void (someDeclared(world, random).comment += "/* a comment */ "),
  "comment of a file": (world, random) => void (random.pick(world.modules).comment += "// another\n"),
  types: (world, random) => {
    const each = someDeclared(world, random)
    each.annotated = !each.annotated
  },
  "type alias": (world, random) => void (random.pick(world.modules).typeText += " | string"),
  "order of imports": (world, random) => {
    const module = random.pick(world.modules)
    module.turned = !module.turned
  },
  kind: (world, random) => void (someDeclared(world, random).kind = random.pick(kinds)),
  "unused declaration": (world, random) => {
    const module = random.below(world.modules.length)
    world.modules[module]!.declared.push(declare(world, module, random))
  },
  "form of an import": (world, random) => {
    const each = someDeclared(world, random)
    if (each.uses !== undefined && each.uses.form !== "self")
      each.uses = { ...each.uses, form: random.pick(forms.filter(form => form !== "self")) }
  },
  barrel: (world, random) => {
    const i = random.below(world.twins.length)
    world.twins[i] = !world.twins[i]
  },
  "add an effect": (world, random) => void random.pick(world.modules).effects.push(random.below(9)),
  "remove an effect": (world, random) => void random.pick(world.modules).effects.pop(),
  "turn effects": (world, random) => void random.pick(world.modules).effects.reverse(),
  "add an import": (world, random) => {
    if (world.modules.length < 2) return
    const from = random.below(world.modules.length - 1)
    world.modules[from]!.bare.push({
      module: from + 1 + random.below(world.modules.length - 1 - from),
      how: random.pick(["effect", "type", "inline type", "unused"] as const)
    })
  },
  "remove an import": (world, random) => void random.pick(world.modules).bare.pop(),
  rename: (world, random) => void (someDeclared(world, random).name = `renamed_${world.renames++}`),
  json: world => void world.json++,
  "common js": (world, random) => void world[random.pick(["common", "deep", "table"] as const)]++,
  linked: (world, random) => void world[random.pick(["linked", "inner"] as const)]++,
  "turn a link": world => void (world.linkTurned = !world.linkTurned),
  packages: (world, random) => void world[random.pick(["locked", "peer", "plain", "hoisted"] as const)]++,
  shadow: world => void (world.shadow = world.shadow === undefined ? 1 : undefined),
  picks: (world, random) => void (world.picks = random.below(world.modules.length)),
  library: world => void world.library++,
  worker: world => void world.worker++,
  "rare forms": (world, random) => void world[random.pick(["star", "beside", "detected", "again"] as const)]++,
  "declared file": world => void world.file++,
  nothing: () => undefined
}
