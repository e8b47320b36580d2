/** The grid with an eighth row, a method of one's own: `npx pipeline run ./grid.ts --quick`. */
import { comparison, rows } from "dllm-pipeline/grid"
import { trainFocal } from "./focal.ts"

export default comparison("grid-with-focal", {
  description: "The rows of compare-50x and one with the focal loss",
  rows: [
    ...rows,
    {
      name: "focal",
      label: "focal loss",
      config: new URL("./focal.yaml", import.meta.url),
      note: "the bound is that of masked diffusion",
      trainedBy: { stage: trainFocal, decodedBy: "masked" }
    }
  ]
})
