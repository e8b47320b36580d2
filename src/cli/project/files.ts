/** The files of a new project: the example of a method of one's own (docs/examples/focal), and what makes a package of it. */
import { readFileSync } from "node:fs"
import { basename, join } from "node:path"

/** Files of the example, as they stand there. */
const ofExample = ["README.md", "pipeline.ts", "row.ts", "focal.ts", "focal.yaml", "focal.test.ts"] as const

interface ProjectOptions {
  /** The program's own folder. */
  readonly root: string
  /** The project's. */
  readonly directory: string
  /** What its `package.json` says of this program. */
  readonly specifier: string
}

/** Their texts, by name, in the order in which people should read them. */
export const projectFiles = ({ directory, root, specifier }: ProjectOptions): ReadonlyMap<string, string> => {
  const { devDependencies: ours } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly devDependencies: { readonly [name: string]: string }
  }
  const manifest = {
    name: packageName(basename(directory)),
    private: true,
    type: "module",
    scripts: { start: "pipeline run ./pipeline.ts --quick", check: "tsc", test: "node --test" },
    dependencies: { "dllm-pipeline": specifier },
    // With which this version was checked.
    devDependencies: Object.fromEntries(["@types/node", "typescript"].map(name => [name, ours[name]]))
  }
  return new Map([
    ...ofExample.map(name => [name, readFileSync(join(root, "docs", "examples", "focal", name), "utf8")] as const),
    ["package.json", json(manifest)],
    ["tsconfig.json", json({ compilerOptions, include: ["*.ts"] })],
    // Not a file of the example: npm would read it when it packs.
    [".gitignore", "node_modules/\ncache/\n"]
  ])
}

/** Node strips types and does nothing else; `dom` has names that declarations of `effect` refer to. */
const compilerOptions = {
  target: "esnext",
  lib: ["esnext", "dom"],
  module: "nodenext",
  types: ["node"],
  strict: true,
  erasableSyntaxOnly: true,
  verbatimModuleSyntax: true,
  allowImportingTsExtensions: true,
  noEmit: true
} as const

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`

/** Nothing, what npm refuses, and what would be the program itself. */
const unfit = new Set(["", "node_modules", "favicon.ico", "dllm-pipeline"])

/** A name that npm takes, from that of a folder. */
export const packageName = (folder: string): string => {
  const name = folder
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, "-")
    .replaceAll(/^[._-]+|[._-]+$/g, "")
    .slice(0, 100)
  return unfit.has(name) ? "my-pipeline" : name
}
