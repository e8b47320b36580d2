/** Work on lists of any length: calls whose arguments are a spread list overflow the stack from about 120,000 items on. */

/** Adds items to a list. */
export const append = <A>(list: Array<A>, items: Iterable<A>): void => {
  for (const item of items) list.push(item)
}

/** The least number; `otherwise` (Infinity) where there is none, and where it is less than all. */
export const least = (values: Iterable<number>, otherwise = Infinity): number => {
  let found = otherwise
  for (const value of values) found = Math.min(found, value)
  return found
}

/** The greatest number; `otherwise` (-Infinity) where there is none, and where it is greater than all. */
export const greatest = (values: Iterable<number>, otherwise = -Infinity): number => {
  let found = otherwise
  for (const value of values) found = Math.max(found, value)
  return found
}
