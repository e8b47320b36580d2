/** What a training is handed besides its base and its texts, as its settings say: the same for every method that aligns a student, or follows trajectories. */
import type { trajectoryModes } from "../../artifacts/kinds.ts"
import { isAligned } from "./alignment/settings.ts"

export interface Needs {
  /** The teacher's states. */
  readonly anchors: boolean
  /** Orders of revealing, of this kind. */
  readonly trajectories: (typeof trajectoryModes)[number] | "none"
}

/** Of methods that have no such settings: nothing. */
export const needsOf = (settings: { readonly [field: string]: unknown }): Needs => {
  const {
    reprAlignWt = 0,
    subgoalAlignWt = 0,
    trajectoryMode = "none"
  } = settings as {
    readonly reprAlignWt?: number
    readonly subgoalAlignWt?: number
    readonly trajectoryMode?: Needs["trajectories"]
  }
  return { anchors: isAligned({ reprAlignWt, subgoalAlignWt }), trajectories: trajectoryMode }
}
