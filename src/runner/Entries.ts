/** What users' files import of this program: each specifier with the module behind it, and its name in a build. */
export const entries = {
  /** Of every pipeline file. */
  "dllm-pipeline": { module: "src/index.ts", built: "index" },
  /** Of a stage that trains by a method of its own. */
  "dllm-pipeline/methods": { module: "src/methods/index.ts", built: "methods" },
  /** Of a pipeline that compares rows. */
  "dllm-pipeline/grid": { module: "pipelines/library.ts", built: "grid" }
} as const
export type Entry = keyof typeof entries

export const isEntry = (specifier: string): specifier is Entry => Object.hasOwn(entries, specifier)
