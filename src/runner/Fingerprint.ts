/** Code fingerprints: what a stage can reach, tree-shaken and minified, with the versions of the packages it uses. */
import { existsSync, readFileSync, statSync } from "node:fs"
import { builtinModules } from "node:module"
import { dirname, join, relative, resolve, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { Effect } from "effect"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import { canonical, type Digest, sha256 } from "../pipeline/Digest.ts"
import type { AnyStage } from "../pipeline/Stage.ts"

/** A fingerprint, with enough about it to say later what changed. */
export interface Fingerprint {
  readonly digest: Digest
  /** Reachable code by module, as digests; paths are relative to the package that holds the stage. */
  readonly modules: { readonly [path: string]: string }
  /** Locked versions of the packages that the code reaches, with all that those depend on. */
  readonly packages: { readonly [name: string]: string }
  /** The files it was made from, with their stat: while these stand, nothing is bundled again. */
  readonly sources: ReadonlyArray<readonly [path: string, stat: string]>
}

export interface FingerprintTarget {
  /** Absolute path of the module that exports the stage. */
  readonly file: string
  readonly export: string
  /** Modules of the chosen method, as the stage names them; undefined where it chooses none. */
  readonly method?: ReadonlyArray<string> | undefined
  /** Modules of all methods, and modules that choose among them beside the stage's own, as the stage names them. */
  readonly methods: ReadonlyArray<string>
  readonly dispatch: ReadonlyArray<string>
}

/** The target for a stage and one of its methods. */
export const targetOf = (
  { methods }: Pick<AnyStage, "methods">,
  location: { readonly file: string; readonly export: string },
  method: string | undefined
): FingerprintTarget => {
  const modules = methods?.modules ?? {}
  const listed = (of: string): ReadonlyArray<string> => [modules[of] ?? []].flat()
  return {
    ...location,
    method: method === undefined ? undefined : listed(method),
    methods: Object.keys(modules).flatMap(listed),
    dispatch: methods?.dispatch ?? []
  }
}

/**
 * Calls of these are free of side effects wherever they stand at the top level of a module, so that
 * an unused declaration (an error class, a schema, another stage) does not enter the fingerprint.
 */
const pureCalls = [
  "Effect",
  "Schema",
  "Stage",
  "Artifact",
  "Pipeline",
  "Layer",
  "Context",
  "Stream",
  "Schedule",
  "Data",
  "Option",
  "Result"
]

const ownPackage = "dllm-pipeline"
/** Declares stages but computes nothing: a stage's result does not depend on it. */
const declarations = `${sep}src${sep}pipeline${sep}`

/** Bundles a stage and takes the digest. The bundler is loaded only here: a run whose fingerprints are remembered does without it. */
export const compute = (target: FingerprintTarget): Effect.Effect<Fingerprint, StageError> =>
  Effect.tryPromise({
    try: () => bundle(target),
    catch: cause =>
      permanent(
        `${target.file}: the code of ${target.export} could not be bundled for its fingerprint: ${cause instanceof Error ? cause.message : String(cause)}`
      )
  })

const bundle = async (target: FingerprintTarget): Promise<Fingerprint> => {
  const { rolldown } = await import("rolldown")
  const packageRoot = rootOf(target.file)
  const entries = [`export { ${target.export} } from ${JSON.stringify(target.file)}`]
  const file = (specifier: string): string => resolve(dirname(target.file), specifier)
  const chosen = new Set(target.method?.map(file))
  let number = 0
  for (const path of chosen) entries.push(`export * as method${number++} from ${JSON.stringify(path)}`)
  const others = new Set(target.methods.map(file).filter(path => !chosen.has(path)))
  const dispatching = new Set([target.file, ...target.dispatch.map(file)])
  const externalPackages = new Map<string, string>()
  const build = await rolldown({
    input: "fingerprint",
    platform: "node",
    logLevel: "silent",
    treeshake: { moduleSideEffects: false, manualPureFunctions: pureCalls, propertyReadSideEffects: false },
    plugins: [
      {
        name: "fingerprint",
        resolveId(id, importer) {
          if (id === "fingerprint") return id
          if (id.startsWith(".") || id.startsWith("/")) {
            const path = id.startsWith("/") ? id : resolve(dirname(importer ?? target.file), id)
            if (path.includes(declarations)) return { id: path, external: true }
            // Of the modules among which a choice is made, the chosen method's are reached.
            if (others.has(path) && importer !== undefined && dispatching.has(importer))
              return { id: relative(packageRoot, path), external: true }
            return null
          }
          if (!id.startsWith("node:") && !builtinModules.includes(id)) externalPackages.set(id, importer ?? target.file)
          return { id, external: true }
        },
        load: id => (id === "fingerprint" ? entries.join("\n") : null)
      }
    ]
  })
  try {
    const { output } = await build.generate({ format: "esm", minify: true, comments: false, codeSplitting: false })
    const [chunk] = output
    const modules: Record<string, string> = {}
    const sources: Array<readonly [string, string]> = []
    for (const [id, module] of Object.entries(chunk.modules)) {
      if (!id.startsWith("/") && !/^[A-Za-z]:/.test(id)) continue
      sources.push([id, statText(id)])
      if (module.code !== null && module.code.trim() !== "")
        modules[relative(packageRoot, id).split(sep).join("/")] = sha256(module.code)
    }
    const packages = new Map<string, string>()
    const reached = chunk.code.replaceAll(bareImport, "")
    for (const [specifier, importer] of externalPackages) {
      // Imports that tree-shaking removed are not in the code any more.
      if (mentions(reached, specifier)) await addPackage(packages, packageName(specifier), dirname(importer))
    }
    const lock = join(packageRoot, "node_modules", ".package-lock.json")
    if (existsSync(lock)) sources.push([lock, statText(lock)])
    const versions = Object.fromEntries([...packages].sort(([a], [b]) => (a < b ? -1 : 1)))
    return {
      digest: sha256(canonical({ code: sha256(chunk.code), packages: versions })),
      modules,
      packages: versions,
      sources: sources.sort()
    }
  } finally {
    await build.close()
  }
}

/** An import without names is what is left of one when the code that used it went: it reaches nothing. */
const bareImport = /\bimport\s*(?:"[^"]*"|'[^']*');?/g

const mentions = (code: string, specifier: string): boolean =>
  ['"', "'", "`"].some(quote => code.includes(`${quote}${specifier}${quote}`))

const packageName = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/")

/** Adds a package and all that it depends on, as installed. Optional dependencies differ between platforms and stay out. */
const addPackage = async (found: Map<string, string>, name: string, from: string): Promise<void> => {
  const pending: Array<readonly [string, string]> = [[name, from]]
  while (pending.length > 0) {
    const [next, base] = pending.pop()!
    const manifest = findManifest(next, base)
    if (manifest === undefined) continue
    const parsed = JSON.parse(readFileSync(manifest, "utf8")) as {
      version?: string
      dependencies?: Record<string, string>
    }
    const version = parsed.version ?? "unknown"
    const known = found.get(next)
    if (known !== undefined && known.split(", ").includes(version)) continue
    found.set(next, known === undefined ? version : [...known.split(", "), version].sort().join(", "))
    if (next !== ownPackage)
      for (const dependency of Object.keys(parsed.dependencies ?? {})) pending.push([dependency, dirname(manifest)])
  }
}

const findManifest = (name: string, from: string): string | undefined => {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, "node_modules", name, "package.json")
    if (existsSync(candidate)) return candidate
    if (dirname(directory) === directory) return undefined
  }
}

/** The directory of the nearest package.json above a file: paths in a fingerprint are relative to it. */
export const rootOf = (file: string): string => {
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    if (existsSync(join(directory, "package.json")) || dirname(directory) === directory) return directory
  }
}

/** Changes whenever the file's content may have changed. */
export const statText = (path: string): string => {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? "missing" : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
}

export const isCurrent = (fingerprint: Fingerprint): boolean =>
  fingerprint.sources.every(([path, stat]) => statText(path) === stat)

/** The method that an action's parameters choose. */
export const chosenMethod = (stage: AnyStage, parameters: unknown): string | undefined =>
  stage.methods === undefined ? undefined : String((parameters as Record<string, unknown>)[stage.methods.by])

/** File and export of a stage, by looking through the exports of the module that called `Stage.make`. */
export const locate = (
  stage: AnyStage
): Effect.Effect<{ readonly file: string; readonly export: string }, StageError> =>
  Effect.gen(function* () {
    const at = stage.definedAt
    if (at === undefined) return yield* permanent(`it is not known where stage ${stage.name} was declared`)
    const url = at.file.startsWith("file:") ? at.file : pathToFileURL(at.file).href
    const module = yield* Effect.promise(() => import(url) as Promise<Record<string, unknown>>)
    const name = Object.keys(module).find(key => module[key] === stage)
    if (name === undefined) {
      return yield* permanent(
        `${fileURLToPath(url)}:${at.line}: stage ${stage.name} is not exported`,
        "export it: an action runs in a process of its own, which loads the stage from this file"
      )
    }
    return { file: fileURLToPath(url), export: name }
  })
