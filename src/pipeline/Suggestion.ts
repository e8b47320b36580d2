/** "Did you mean": finds the known name that a misspelt one stands for. */

/** Longer names are not compared: they are data in the wrong place, not slips of the finger. */
const longestName = 64

/**
 * The candidate nearest to `name`, when it is near enough to be meant: at most a third of its letters differ, or it goes
 * on where `name` ends. Case, `_` and `-` do not count, so that `max_seq_len` finds `maxSeqLen`.
 */
export const closest = (name: string, candidates: Iterable<string>): string | undefined => {
  if (name.length > longestName) return undefined
  const wanted = plain(name)
  let best: string | undefined
  let least = Math.max(1, Math.floor(wanted.length / 3)) + 1
  for (const candidate of candidates) {
    if (candidate === name || candidate.length > longestName) continue
    const known = plain(candidate)
    const distance = wanted.length >= 3 && known.startsWith(wanted) ? 1 : editDistance(wanted, known)
    if (distance < least && distance < Math.max(wanted.length, known.length)) {
      best = candidate
      least = distance
    }
  }
  return best
}

const plain = (name: string) => name.toLowerCase().replaceAll(/[_-]/g, "")

/** Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b` (optimal string alignment distance). */
export const editDistance = (a: string, b: string): number => {
  let beforeLast: Array<number> = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let distance = Math.min(row[j - 1]! + 1, last[j]! + 1, substituted)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, beforeLast[j - 2]! + 1)
      }
      row.push(distance)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
