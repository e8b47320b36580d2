/**
 * Accuracy under parallelism (AUP), one number for how much accuracy is left as tokens are decoded more at a time: d3LLM (Qian et al. 2026, arXiv:2601.07568) and its leaderboard. It is the
 * area under accuracy by tokens per forward pass, each accuracy weighted by how far it is below the best that is known; what is worse than the slowest point by more than 5 points is left out.
 */

/** Accuracy in per cent at a number of tokens per forward pass, above 0. */
export interface Point {
  readonly rate: number
  readonly accuracy: number
}

/** How hard an accuracy below the best is punished. */
const alpha = 3

/** Per cent that a point may lie below the slowest one. */
const tolerance = 5

/** What rounding may add to a difference of per cents: of shares of some problems, many differ by exactly the tolerance. */
const rounding = 1e-9

/** The area of some points, at least one. `best`: the best accuracy of all methods on the task. */
export const aup = (points: ReadonlyArray<Point>, best: number): number => {
  // Of equal rates the better one is first, so that the result does not depend on the order in which points come.
  const [slowest, ...faster] = points.toSorted((a, b) => a.rate - b.rate || b.accuracy - a.accuracy)
  const { accuracy, rate } = slowest!
  const weighted = ({ accuracy: y }: Point): number =>
    y * (best > 0 ? Math.min(1, Math.exp(-alpha * (1 - y / best))) : 0)
  let area = rate * accuracy
  let before = slowest!
  for (const point of faster) {
    if (point.accuracy < accuracy - tolerance - rounding) continue
    area += ((point.rate - before.rate) * (weighted(point) + weighted(before))) / 2
    before = point
  }
  return area
}
