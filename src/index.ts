/** What a pipeline file of your own imports: `import { Pipeline, Stage, Artifact, Schema, Effect } from "dllm-pipeline"`. */
export * as Artifact from "./pipeline/Artifact.ts"
export * as Pipeline from "./pipeline/Pipeline.ts"
export * as Stage from "./pipeline/Stage.ts"
export { StageError, permanent } from "./pipeline/StageError.ts"
export type { Ref } from "./pipeline/Artifact.ts"
export type { StageContext } from "./pipeline/StageContext.ts"
export { Effect, Schema, Stream } from "effect"
