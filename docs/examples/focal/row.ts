/** The row of the method in `focal.ts`: what the grid calls it, and the file that says how it is trained. */
import type { GridRow } from "dllm-pipeline/grid"
import { trainFocal } from "./focal.ts"

export const focal: GridRow = {
  name: "focal",
  label: "focal loss",
  config: new URL("./focal.yaml", import.meta.url),
  note: "the bound is that of masked diffusion",
  trainedBy: { stage: trainFocal, decodedBy: "masked" }
}
