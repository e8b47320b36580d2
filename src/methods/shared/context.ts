/** What the stage `train` reads and writes. */
import { Anchors, ModelFiles, TokenSequences, TrainingLog, Trajectories } from "../../artifacts/kinds.ts"
import * as Artifact from "../../pipeline/Artifact.ts"
import type { StageContext } from "../../pipeline/StageContext.ts"

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

export type TrainInputs = StageContext<typeof trainInputs, unknown, typeof trainOutputs>["inputs"]
