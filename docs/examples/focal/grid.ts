/** The grid with an eighth row, a method of one's own: `npx pipeline run ./grid.ts --quick`. */
import { comparison, rows } from "dllm-pipeline/grid"
import { focal } from "./row.ts"

export default comparison("grid-with-focal", {
  description: "The rows of compare-50x and one with the focal loss",
  rows: [...rows, focal]
})
