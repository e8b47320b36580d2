/** The mean over problems, with the interval of what other problems of the kind might have shown. */
import type { Share } from "../../src/evaluation/suiteFiles.ts"
import { bootstrap, drawResamples, saysOfOthers } from "../../src/report/statistics.ts"

export const meanOver = (values: ReadonlyArray<number>): Share => {
  const parts = values.map(value => ({ sum: value, weight: 1 }))
  const resamples = drawResamples({ documents: parts.length, runs: 1, of: "problems" }, 0)
  const { high, low, value } = bootstrap([parts], resamples)
  return { value, ...(saysOfOthers(parts) ? { low, high } : {}) }
}
