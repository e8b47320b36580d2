/** The early end of a text: what says, beside the end of text that a model writes, that nothing more of it is needed. */

/**
 * Asked about text `number` after each of its steps, with its first new tokens: those that stay as they are, before any mask and any end of text. Undefined while more is wanted, else how many of them are
 * the whole text.
 */
export type Ending = (number: number, settled: Int32Array) => number | undefined

/** The same of one text. */
export type TextEnding = (settled: Int32Array) => number | undefined

/** The end of text `number`; undefined where nobody asks for one. */
export const endingOf = (ending: Ending | undefined, number: number): TextEnding | undefined =>
  ending && (settled => ending(number, settled))
