/** What is said of an op where it is declared (primitives.ts), and what follows from that for the types of its results. */
import { Schema } from "effect"
import { type DType, floats } from "./dtype.ts"
import type { ValueType } from "./Program.ts"
import type { Shape } from "./Tensor.ts"

/** The dtype of an operand: T is the op's own, the same wherever it stands; others do not depend on it. */
export type OperandType = "T" | { readonly name: string; readonly dtypes: ReadonlyArray<DType> }

/** The dtype of a result: that of the operands T, that of the attribute `dtype`, or always the same. */
export type ResultType = "T" | "attribute" | DType

/** A value for each operand or result. */
export type Each<List, V> = { readonly [I in keyof List]: V }

interface Properties<F, I, R> {
  /** What T may be; of ops that have one. */
  readonly dtypes?: ReadonlyArray<DType>
  /** By default one of T. */
  readonly operands?: I
  /** The last operand may be there more than once. */
  readonly repeats?: boolean
  /** By default one of T. */
  readonly results?: R
  /** All attributes, as programs and their files have them; by default none. */
  readonly attributes?: F
  /** A single operator, which reads each element just before it writes the one at the same place: a result may take the place of an operand. */
  readonly inPlace?: boolean
  /** Results are elements of operands, up to their signs: there is nothing to round. */
  readonly exact?: boolean
}

type ShapeRule<A, I> = (operands: Each<I, ValueType>, attributes: A) => Shape | string

export interface Declaration<A, I, R> extends Required<Properties<Schema.Codec<A, unknown>, I, R>> {
  /** The shape of all results, or a sentence that says why operands or attributes do not fit. The operands' dtypes were checked before. */
  shape(operands: Each<I, ValueType>, attributes: A): Shape | string
}

export const declare = <
  F extends Schema.Struct.Fields = {},
  const I extends ReadonlyArray<OperandType> = readonly ["T"],
  const R extends ReadonlyArray<ResultType> = readonly ["T"]
>(
  { attributes, dtypes = [], exact = false, inPlace = false, operands, repeats = false, results }: Properties<F, I, R>,
  shape: ShapeRule<Schema.Struct.Type<F>, I>
): Declaration<Schema.Struct.Type<F>, I, R> => ({
  attributes: Schema.Struct(attributes ?? {}) as unknown as Schema.Codec<Schema.Struct.Type<F>, unknown>,
  dtypes,
  operands: operands ?? (["T"] as unknown as I),
  repeats,
  results: results ?? (["T"] as unknown as R),
  inPlace,
  exact,
  shape
})

const dtypesText = (dtypes: ReadonlyArray<DType>): string =>
  dtypes.join() === floats.join() ? "a float" : dtypes.join(" or ")

/** Whatever an op takes. */
type AnyDeclaration = Declaration<unknown, ReadonlyArray<OperandType>, ReadonlyArray<ResultType>>

const operandProblem = (
  { dtypes, operands, repeats }: AnyDeclaration,
  given: ReadonlyArray<ValueType>
): string | undefined => {
  const count = operands.length
  if (given.length < count || (given.length > count && !repeats))
    return `takes ${repeats ? "at least " : ""}${count} operands, got ${given.length}`
  let own: DType | undefined
  for (const [i, { dtype }] of given.entries()) {
    const wanted = operands[Math.min(i, count - 1)]!
    if (wanted !== "T") {
      if (!wanted.dtypes.includes(dtype)) return `${wanted.name} must be ${dtypesText(wanted.dtypes)}, got ${dtype}`
      continue
    }
    own ??= dtype
    if (dtype !== own) return `operands must have one dtype, got ${own} and ${dtype}: cast one of them`
    if (!dtypes.includes(dtype)) return `needs ${dtypesText(dtypes)}, got ${dtype}`
  }
  return undefined
}

/** The types of an op's results, or what is wrong with its operands or attributes. */
export const resultTypes = (
  declaration: AnyDeclaration,
  attributes: unknown,
  operands: ReadonlyArray<ValueType>
): ReadonlyArray<ValueType> | string => {
  const problem = operandProblem(declaration, operands)
  if (problem !== undefined) return problem
  const shape = declaration.shape(operands, attributes)
  if (typeof shape === "string") return shape
  const own = operands[declaration.operands.indexOf("T")]?.dtype
  const { dtype } = attributes as { readonly dtype?: DType }
  return declaration.results.map(result => ({
    dtype: result === "T" ? own! : result === "attribute" ? dtype! : result,
    shape
  }))
}
