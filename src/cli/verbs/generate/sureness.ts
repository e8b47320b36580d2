/** How sure a model was of tokens, in a few levels that colours can tell apart. */

/** From the surest on: the least probability of each. */
const bounds = [0.9, 0.5, 0.25, 0] as const

/** A level, 0 the surest. */
export type Level = 0 | 1 | 2 | 3
export const levels: ReadonlyArray<Level> = [0, 1, 2, 3]

/** The level of a probability; undefined where there is none (NaN). */
export const levelOf = (probability: number | undefined): Level | undefined =>
  levels.find(level => probability !== undefined && probability >= bounds[level])

/** What a level stands for, in a legend. */
export const labelOf = (level: Level): string => (level < 3 ? `≥ ${bounds[level]}` : `< ${bounds[2]}`)

/** What the levels are of. */
export const legendTitle = "probability when revealed"
