/** Folders with a stage whose code is fingerprinted, edited, and fingerprinted again. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { Effect } from "effect"
import { assert, onTestFinished } from "vitest"
import * as Fingerprint from "../../src/runner/Fingerprint.ts"

const head = `import { Artifact, Effect, Schema, Stage } from "dllm-pipeline"
const T = Artifact.kind("text", { description: "t", metadata: Schema.Struct({}) })`

/** A stage in `w.ts`, as people write it. */
export const stage = (imports: string, value: string, options = "", name = "say") => `${head}
${imports}
export const ${name} = Stage.make("say", { inputs: {}, parameters: Schema.Struct({ method: Schema.String }), outputs: { t: T }, ${options}
  run: Effect.fn("say")(function* ({ outputs }) {
    yield* outputs.t.write("t.txt", String(${value})); yield* outputs.t.metadata({}) }) })`

export interface Folder {
  readonly root: string
  readonly write: (files: { readonly [path: string]: string }) => void
  readonly link: (path: string, to: string) => void
}

export const folder = (files: { readonly [path: string]: string }): Folder => {
  const root = mkdtempSync(join(tmpdir(), "fingerprint-"))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  const write: Folder["write"] = all => {
    for (const [path, text] of Object.entries(all)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
  }
  write({ "package.json": `{ "type": "module", "imports": { "#lib/*": "./lib/*.ts" } }`, ...files })
  const link: Folder["link"] = (path, to) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    rmSync(join(root, path), { force: true })
    symlinkSync(to, join(root, path))
  }
  return { root, write, link }
}

export const compute = (
  { root }: Folder,
  more: Partial<Fingerprint.FingerprintTarget> = {},
  session?: Fingerprint.Session
): Promise<Fingerprint.Fingerprint> =>
  Effect.runPromise(Fingerprint.compute({ file: join(root, "w.ts"), export: "say", ...more }, session))

/** Edits, and tells whether what was remembered still holds, and whether the digest is another one. */
export const after = async (
  project: Folder,
  edit: () => void,
  more: Partial<Fingerprint.FingerprintTarget> = {}
): Promise<{ readonly noticed: boolean; readonly changed: boolean }> => {
  const before = await compute(project, more)
  edit()
  const noticed = Fingerprint.renewed(before) === undefined
  return { noticed, changed: (await compute(project, more)).digest !== before.digest }
}

export const changes = async (
  project: Folder,
  files: { readonly [path: string]: string },
  more: Partial<Fingerprint.FingerprintTarget> = {}
) => assert.deepStrictEqual(await after(project, () => project.write(files), more), { noticed: true, changed: true })

export const changesNothing = async (
  project: Folder,
  files: { readonly [path: string]: string },
  more: Partial<Fingerprint.FingerprintTarget> = {}
) => assert.isFalse((await after(project, () => project.write(files), more)).changed)

/** A package `p` that says its version. */
export const packages = (version: string, more: object = {}) => ({
  [`node_modules/p/package.json`]: JSON.stringify({ name: "p", version, type: "module", exports: "./i.js", ...more }),
  [`node_modules/p/i.js`]: `export const v = "${version}"`
})
