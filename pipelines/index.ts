/** The pipelines that ship with the program, by name. Each is loaded only when it is asked for. */
import type { Pipeline } from "../src/pipeline/Pipeline.ts"

export const pipelines: { readonly [name: string]: () => Promise<{ readonly default: Pipeline }> } = {
  "compare-50x": () => import("./compare-50x.ts"),
  convert: () => import("./convert.ts"),
  evaluate: () => import("./evaluate.ts"),
  "d3llm-27b": () => import("./d3llm-27b.ts"),
  "pretrain-teacher": () => import("./pretrain-teacher.ts")
}
