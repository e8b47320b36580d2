/** What the stage `train` reads and writes, and what it hands to a method. */
import { Anchors, ModelFiles, TokenSequences, TrainingLog, Trajectories } from "../../artifacts/kinds.ts"
import * as Artifact from "../../pipeline/Artifact.ts"
import type { StageContext } from "../../pipeline/StageContext.ts"
import type { CommonSettings } from "./settings.ts"

export const trainInputs = {
  base: ModelFiles,
  sequences: TokenSequences,
  heldOut: TokenSequences,
  /** States to align with; without them a copy of the base computes them in every step. */
  anchors: Artifact.optional(Anchors),
  /** Needed where `trajectory_mode` is not `none`. */
  trajectories: Artifact.optional(Trajectories)
} as const
export const trainOutputs = { model: ModelFiles, log: TrainingLog } as const

export type TrainContext<Settings = CommonSettings> = StageContext<typeof trainInputs, Settings, typeof trainOutputs>
