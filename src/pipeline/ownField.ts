/** Fields of records whose names users choose: `constructor` and `toString` are names like any other, and every object inherits them. */

export const ownField = <A>(record: { readonly [name: string]: A }, name: string): A | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined
