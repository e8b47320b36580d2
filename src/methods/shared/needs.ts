/** What a training is handed besides its base and its texts, as its settings say: the same for every method that aligns a student, or follows trajectories. */
import type { trajectoryModes } from "../../artifacts/kinds.ts"
import type { MaskedSettings } from "../masked/settings.ts"
import { isAligned } from "./alignment/settings.ts"

export interface Needs {
  /** The teacher's states, kept. Under an adapter the base itself is asked during the training: states of all layers of a large model would fill disks. */
  readonly anchors: boolean
  /** Orders of revealing, of this kind. */
  readonly trajectories: (typeof trajectoryModes)[number] | "none"
  /** Who gives these orders, and responses where they are its own: `base`, `self`, or a model by its source. */
  readonly teacher: string
  /** Whose responses are learnt. */
  readonly response: "data" | "own"
}

/** Of methods that have no such settings: nothing. */
export const needsOf = (settings: { readonly [field: string]: unknown }): Needs => {
  const {
    adapter,
    reprAlignWt = 0,
    shuffleTeacher = false,
    subgoalAlignWt = 0,
    trajectoryMode = "none",
    trajectoryResponse = "data",
    trajectoryTeacher = "base"
  } = settings as Partial<MaskedSettings> & { readonly adapter?: object }
  return {
    anchors: isAligned({ reprAlignWt, subgoalAlignWt }) && (adapter === undefined || shuffleTeacher),
    trajectories: trajectoryMode,
    teacher: trajectoryTeacher,
    response: trajectoryResponse
  }
}
