/** Thrown where a file cannot be what it says it is. `offset` is in bytes from the start of the file. */
export class Damage extends Error {
  readonly offset: number | undefined

  constructor(what: string, offset?: number) {
    super(what)
    this.offset = offset
  }
}

/** A number that the file states, when it is an integer from 0 to `most`; else `Damage`. */
export const integer = (value: unknown, most: number, what: string, offset?: number): number => {
  const number = typeof value === "bigint" ? Number(value) : value
  if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0 && number <= most) return number
  throw new Damage(`${what} is ${typeof number === "number" ? number : "missing"}, which cannot be`, offset)
}
