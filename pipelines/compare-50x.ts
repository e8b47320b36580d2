/** The comparison grid: ways to make a diffusion model from an autoregressive one, each a row. */
import { comparison } from "./comparison.ts"
import { ablations, controls, rows } from "./rows.ts"

export default comparison("compare-50x", {
  description: "Ways to make a diffusion model from an autoregressive one, compared on 50 documents",
  rows,
  controls,
  ablations
})
