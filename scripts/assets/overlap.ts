/** How much of a text occurs word for word in another one: shared runs of 13 words, the usual measure of contamination. */

/** Words in a run. */
export const runLength = 13

/** The words of a text, in lower case and without punctuation. */
const words = (text: string): ReadonlyArray<string> => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []

/** Every run of 13 words of a text, in order. */
export function* runs(text: string): Generator<string> {
  const all = words(text)
  for (let i = 0; i + runLength <= all.length; i += 1) yield all.slice(i, i + runLength).join(" ")
}

/** For each text, the share of its runs that occur in one of the others; 0 for texts of fewer than 13 words. */
export const overlaps = (texts: ReadonlyArray<string>, others: Iterable<string>): ReadonlyArray<number> => {
  const wanted = new Set<string>()
  const ofTexts = texts.map(text => [...runs(text)])
  for (const list of ofTexts) for (const run of list) wanted.add(run)
  const found = new Set<string>()
  for (const other of others) for (const run of runs(other)) if (wanted.has(run)) found.add(run)
  return ofTexts.map(list => (list.length === 0 ? 0 : list.filter(run => found.has(run)).length / list.length))
}
