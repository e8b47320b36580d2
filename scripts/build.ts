/** Builds `dist/`: the bundled program, and the code fingerprints of the stages that ship with it. Run by `npm ci`, and by the launcher when a source changed. */
import { createHash } from "node:crypto"
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { basename, extname, join, relative } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { Effect } from "effect"
import { type Plugin, rolldown } from "rolldown"
import { isStage } from "../src/pipeline/Stage.ts"
import { builtFile, builtText, noMethod } from "../src/runner/Codes.ts"
import { entries, type Entry } from "../src/runner/Entries.ts"
import * as Fingerprint from "../src/runner/Fingerprint.ts"
import { builtins } from "./builtins.ts"
import { external } from "./external.ts"
import { graphOf } from "./graph.ts"
import { oneScript, onlyScript } from "./oneScript.ts"
import { parts, removeParts } from "./package/parts.ts"
import { writePages } from "./pages.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const dist = join(root, "dist")
/** Where a build is made; renamed to its content's digest when it is complete. */
const fresh = join(dist, `fresh.${process.pid}`)
/** Every source is read once: what is bundled is what is fingerprinted, and what the launcher compares with. */
const session = new Fingerprint.Session()
const { sources } = session

const stageFiles = globSync("stages/*.ts", { cwd: root }).sort()

const isOurs = (path: string): boolean => path.startsWith(root) && !path.includes("node_modules")

/** The bundler reads our files through the same eyes as everything else here, so that what was compared is what was built. */
const plugins = [
  {
    name: "sources",
    load: (id: string) =>
      isOurs(id) && /^\.[cm]?[jt]s$/.test(extname(id)) ? sources.file(id)!.bytes.toString("utf8") : null
  },
  builtins
]

const written = {
  dir: fresh,
  format: "esm",
  entryFileNames: "[name].js",
  minify: { compress: true, mangle: false, codegen: true },
  comments: false
} as const

const bundle = async (): Promise<void> => {
  const core = graphOf(["src/cli/worker.ts", "src/index.ts"].map(path => join(root, path)))
  const build = await rolldown({
    cwd: root,
    input: {
      main: "src/cli/main.ts",
      everything: "src/cli/everything.ts",
      worker: "src/cli/worker.ts",
      guard: "src/executors/guard.ts",
      ...Object.fromEntries(Object.values(entries).map(({ built, module }) => [built, module])),
      script: "src/cli/script.ts",
      whyPlaces: "src/cli/verbs/whyPlaces.ts",
      identityThread: "src/runner/identityThread.ts",
      chart: "src/cli/text/chart.ts",
      tokenizeWorker: "src/tokens/tokenizeWorker.ts",
      ortWorker: "src/engines/ort/worker.ts",
      parquetDecoder: "src/formats/parquet/decoderProcess.ts",
      // Entries of their own, so that each chunk exports its stage: action processes load it by that.
      ...Object.fromEntries(stageFiles.map(file => [`stage-${basename(file, ".ts")}`, file]))
    },
    platform: "node",
    external,
    treeshake: {
      moduleSideEffects: [
        {
          test: /src\/cli\/(main|everything|worker)\.ts|executors\/guard\.ts|identityThread\.ts|tokenizeWorker\.ts|ort\/worker\.ts|decoderProcess\.ts/,
          sideEffects: true
        },
        { external: true, sideEffects: true },
        { test: /./, sideEffects: false }
      ]
    },
    logLevel: "warn",
    plugins: [...plugins, core.plugin, oneScript(({ name }) => name === "core")]
  })
  await build.write({
    ...written,
    chunkFileNames: "[name]-[hash].js",
    codeSplitting: { groups: [{ name: "core", test: core.has }] }
  })
  await build.close()
}

/** What verbs that only look leave to the whole program: pipelines, and charts. Of it they load where parameters stand; what else would need one is never asked of them. */
const wholeProgram: Plugin = {
  name: "wholeProgram",
  resolveId: (id, importer) =>
    /\/(whyPlaces|whyNext|pipelines|text\/chart)\.ts$/.test(id) || importer === join(root, "pipelines", "index.ts")
      ? { id: `./${basename(id, ".ts")}.js`, external: true }
      : null
}

/** The program for verbs that only look, apart: what they do not use of the libraries is left out, as no stage shares them. */
const bundleLooking = async (): Promise<void> => {
  const build = await rolldown({
    cwd: root,
    input: { looking: "src/cli/looking.ts" },
    platform: "node",
    external,
    plugins: [...plugins, wholeProgram, onlyScript],
    treeshake: {
      moduleSideEffects: [
        { test: /src\/cli\/looking\.ts/, sideEffects: true },
        { external: true, sideEffects: true },
        { test: /./, sideEffects: false }
      ]
    },
    logLevel: "warn"
  })
  await build.write({ ...written, codeSplitting: false })
  await build.close()
}

/**
 * Programs apart, without a chunk beside them: for the launcher in an older Node, which prints pages itself, so that the program has no further chunk to load;
 * and for threads of stages, which are started in a moment.
 */
const bundleAlone = async (entry: string): Promise<void> => {
  const build = await rolldown({
    cwd: root,
    input: entry,
    platform: "node",
    treeshake: { moduleSideEffects: [{ test: /threadHook\.ts/, sideEffects: true }] },
    plugins
  })
  await build.write(written)
  await build.close()
}

/** A build does not change: nothing of it is looked at again. */
const settled = (fingerprint: Fingerprint.Fingerprint): Fingerprint.Fingerprint => ({
  ...fingerprint,
  seen: [],
  unhooked: [],
  loadable: [],
  silent: [],
  roots: []
})

/** Fingerprints of every stage that ships, for each of its methods. */
const fingerprints = async (): Promise<Record<string, Record<string, Fingerprint.Fingerprint>>> => {
  const found: Record<string, Record<string, Fingerprint.Fingerprint>> = {}
  for (const entry of Object.keys(entries) as ReadonlyArray<Entry>)
    found[entry] = { [noMethod]: settled(await session.ours(entry)) }
  for (const file of stageFiles) {
    const path = join(root, file)
    const bundled = join(fresh, `stage-${basename(file, ".ts")}.js`)
    const module = (await import(pathToFileURL(bundled).href)) as Record<string, unknown>
    for (const [name, stage] of Object.entries(module)) {
      if (!isStage(stage)) continue
      if (found[stage.name] !== undefined) throw new Error(`two stages are named ${stage.name}`)
      const ofMethods: Record<string, Fingerprint.Fingerprint> = {}
      for (const method of stage.methods === undefined ? [noMethod] : Object.keys(stage.methods.modules)) {
        const target = { file: path, export: name, methods: stage.methods, files: stage.files }
        const computed = Fingerprint.compute(method === noMethod ? target : { ...target, method }, session)
        ofMethods[method] = settled(await Effect.runPromise(computed))
      }
      found[stage.name] = ofMethods
    }
  }
  return found
}

/**
 * Everything whose change makes `dist/` stale: files with their stat and digest, directories with their names. The launcher compares them; see bin/pipeline.mjs.
 */
const sourcesOf = (): ReadonlyArray<readonly [path: string, stat: string, content: string]> => [
  ...sources
    .files()
    .filter(({ path }) => isOurs(path) || path === lock)
    .map(({ digest, path, stat }) => [relative(root, path), stat, digest] as const),
  ...["stages", "pipelines"].map(
    directory => [directory, "directory", readdirSync(join(root, directory)).sort().join("\n")] as const
  )
]

/** The digest of all files of a build. */
const nameOf = (directory: string): string => {
  const hash = createHash("sha256")
  for (const file of readdirSync(directory).sort())
    hash.update(`${file}\0`).update(
      createHash("sha256")
        .update(readFileSync(join(directory, file)))
        .digest()
    )
  return hash.digest("hex").slice(0, 16)
}

/** A file that is there as a whole or not at all. */
const replace = (path: string, text: string): void => {
  writeFileSync(`${path}.${process.pid}`, text)
  renameSync(`${path}.${process.pid}`, path)
}

/** Builds stay for so long after they were replaced: programs that run may still load from them. A package for others holds one build. */
const packing = ["pack", "publish"].includes(process.env["npm_command"] ?? "")
const keptMs = packing ? 0 : 30 * 86_400_000

/** A build never changes once it is there: a new one lies beside it, and the entries lead to that. */
const install = (compared: string): string => {
  const name = nameOf(fresh)
  const place = join(dist, name)
  if (existsSync(place)) rmSync(fresh, { recursive: true })
  else renameSync(fresh, place)
  const before = current()
  const reexported = [...Object.values(entries).map(({ built }) => built), "pages"].map(each => `${each}.js`)
  for (const each of reexported) replace(join(dist, each), `export * from "./${name}/${each}"\n`)
  replace(join(dist, "main.js"), `import "./${name}/main.js"\n`)
  replace(join(dist, "sources.json"), compared)
  const now = new Date()
  if (before !== undefined && before !== name && existsSync(join(dist, before)))
    utimesSync(join(dist, before), now, now)
  if (!packing) removeParts(dist)
  const standing = new Set([name, ...reexported, "main.js", "sources.json", ...Object.values(parts)])
  for (const each of readdirSync(dist)) {
    const path = join(dist, each)
    if (standing.has(each)) continue
    if (statSync(path).mtimeMs > now.getTime() - keptMs) continue
    for (const gone of [path, join(root, "node_modules", ".cache", "pipeline", each)])
      rmSync(gone, { recursive: true, force: true })
  }
  return name
}

/** The build that the entries lead to. */
const current = (): string | undefined => {
  const entry = join(dist, "main.js")
  return existsSync(entry) ? /"\.\/([0-9a-f]+)\/main\.js"/.exec(readFileSync(entry, "utf8"))?.[1] : undefined
}

const lock = join(root, "node_modules", ".package-lock.json")
for (const script of [
  "build.ts",
  "builtins.ts",
  "external.ts",
  "graph.ts",
  "oneScript.ts",
  "package/parts.ts",
  "pages.ts"
])
  sources.file(join(root, "scripts", script))
for (const path of [join(root, "package.json"), lock]) sources.file(path)
mkdirSync(dist, { recursive: true })
rmSync(fresh, { recursive: true, force: true })
try {
  await bundle()
  await bundleLooking()
  await bundleAlone("src/cli/pages.ts")
  await bundleAlone("src/runner/threadHook.ts")
  for (const script of globSync("src/**/*.py", { cwd: root }))
    writeFileSync(join(fresh, basename(script)), sources.file(join(root, script))!.bytes)
  writeFileSync(join(fresh, builtFile), builtText(await fingerprints()))
  await writePages(fresh)
  const name = install(JSON.stringify(sourcesOf()))
  if (process.env["PIPELINE_BUILD_QUIET"] === undefined) {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { readonly version: string }
    console.log(`dist/${name} built: ${readdirSync(join(dist, name)).length} files, version ${version}`)
  }
} finally {
  rmSync(fresh, { recursive: true, force: true })
}
