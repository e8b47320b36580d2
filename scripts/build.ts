/** Builds `dist/`: the bundled program, and the code fingerprints of the stages that ship with it. Run by `npm ci`, and by the launcher when a source changed. */
import { globSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { basename, join, relative } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { Effect } from "effect"
import { rolldown } from "rolldown"
import { isStage } from "../src/pipeline/Stage.ts"
import { builtFile, noMethod } from "../src/runner/Codes.ts"
import * as Fingerprint from "../src/runner/Fingerprint.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const dist = join(root, "dist")
/** Written beside each other by builds that overlap; moved into place file by file, the entry last. */
const fresh = join(root, `dist.${process.pid}`)

const stageFiles = globSync("stages/*.ts", { cwd: root }).sort()

/** What stays outside of the bundle: native code, and the bundler, which is only needed for a user's own stages. */
const external = ["better-sqlite3", "onnxruntime-node", "rolldown", /^node:/]

const bundle = async (): Promise<ReadonlyArray<string>> => {
  const build = await rolldown({
    cwd: root,
    input: {
      main: "src/cli/main.ts",
      worker: "src/cli/worker.ts",
      guard: "src/executors/guard.ts",
      index: "src/index.ts",
      tokenizeWorker: "src/data/tokenizeWorker.ts",
      ortWorker: "src/engines/ort/worker.ts",
      // Entries of their own, so that each chunk exports its stage: action processes load it by that.
      ...Object.fromEntries(stageFiles.map(file => [`stage-${basename(file, ".ts")}`, file]))
    },
    platform: "node",
    external,
    treeshake: {
      moduleSideEffects: [
        {
          test: /src\/cli\/(main|worker)\.ts|executors\/guard\.ts|tokenizeWorker\.ts|ort\/worker\.ts/,
          sideEffects: true
        },
        { external: true, sideEffects: true },
        { test: /./, sideEffects: false }
      ]
    },
    logLevel: "warn"
  })
  const { output } = await build.write({
    dir: fresh,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name]-[hash].js",
    minify: { compress: true, mangle: false, codegen: true },
    comments: false
  })
  await build.close()
  return output.flatMap(chunk => (chunk.type === "chunk" ? chunk.moduleIds : []))
}

/** Fingerprints of every stage that ships, for each of its methods. */
const fingerprints = async (): Promise<Record<string, Record<string, Fingerprint.Fingerprint>>> => {
  const session = new Fingerprint.Session()
  const found: Record<string, Record<string, Fingerprint.Fingerprint>> = {
    [Fingerprint.ownPackage]: { [noMethod]: await session.ours() }
  }
  for (const file of stageFiles) {
    const path = join(root, file)
    const module = (await import(pathToFileURL(path).href)) as Record<string, unknown>
    for (const [name, stage] of Object.entries(module)) {
      if (!isStage(stage)) continue
      if (found[stage.name] !== undefined) throw new Error(`two stages are named ${stage.name}`)
      const ofMethods: Record<string, Fingerprint.Fingerprint> = {}
      for (const method of stage.methods === undefined ? [noMethod] : Object.keys(stage.methods.modules)) {
        const target = { file: path, export: name, methods: stage.methods, files: stage.files }
        ofMethods[method] = await Effect.runPromise(
          Fingerprint.compute(method === noMethod ? target : { ...target, method }, session)
        )
      }
      found[stage.name] = ofMethods
    }
  }
  return found
}

/** Everything whose change makes `dist/` stale, with its stat. The launcher compares them; see bin/pipeline.mjs. */
const sourcesOf = (modules: ReadonlyArray<string>): ReadonlyArray<readonly [string, number, number]> => {
  const own = modules
    .filter(path => path.startsWith(root) && !path.includes("node_modules"))
    .map(path => relative(root, path))
  const others = ["package.json", "scripts/build.ts", "node_modules/.package-lock.json", "stages", "pipelines"]
  return [...new Set([...own, ...others])].sort().flatMap(path => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false })
    return stat === undefined ? [] : [[path, stat.isDirectory() ? 0 : stat.size, stat.mtimeMs] as const]
  })
}

const install = (): void => {
  mkdirSync(dist, { recursive: true })
  const files = readdirSync(fresh).sort((a, b) => rank(a) - rank(b))
  // Chunks carry a hash of their content in their names: a running program keeps finding the ones it was built with.
  for (const file of files) renameSync(join(fresh, file), join(dist, file))
  rmSync(fresh, { recursive: true, force: true })
  const current = new Set(files)
  const yesterday = Date.now() - 86_400_000
  for (const file of readdirSync(dist)) {
    if (!current.has(file) && statSync(join(dist, file)).mtimeMs < yesterday) rmSync(join(dist, file))
  }
}

const rank = (file: string) => (file === "sources.json" ? 2 : file === "main.js" ? 1 : 0)

rmSync(fresh, { recursive: true, force: true })
try {
  const modules = await bundle()
  writeFileSync(join(fresh, builtFile), JSON.stringify(await fingerprints()))
  writeFileSync(join(fresh, "sources.json"), JSON.stringify(sourcesOf(modules)))
  install()
} finally {
  rmSync(fresh, { recursive: true, force: true })
}
const size = statSync(join(dist, "main.js")).size
if (process.env["PIPELINE_BUILD_QUIET"] === undefined)
  console.log(
    `dist/ built: ${readdirSync(dist).length} files, main.js ${Math.round(size / 1000)} kB, version ${(JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version}`
  )
