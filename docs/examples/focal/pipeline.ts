/** A row of the grid and, beside it, a method of one's own: `npx pipeline run ./pipeline.ts --quick`. */
import { comparison, rows } from "dllm-pipeline/grid"
import { focal } from "./row.ts"

export default comparison("focal", {
  description: "Random masking with the cross-entropy, and with the focal loss",
  rows: [rows[0], focal]
})
