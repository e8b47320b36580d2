/** What is said of an op where it is declared (primitives.ts), and what follows from that for the types of its results. */
import type { Schema } from "effect"
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

export interface Declaration<F extends Schema.Struct.Fields, I, R> extends Required<Properties<F, I, R>> {
  /** The shape of all results, or a sentence that says why operands or attributes do not fit. The operands' dtypes were checked before. */
  shape(operands: Each<I, ValueType>, attributes: Schema.Struct.Type<F>): Shape | string
}

export const declare = <
  F extends Schema.Struct.Fields = {},
  const I extends ReadonlyArray<OperandType> = readonly ["T"],
  const R extends ReadonlyArray<ResultType> = readonly ["T"]
>(
  properties: Properties<F, I, R>,
  shape: Declaration<F, I, R>["shape"]
): Declaration<F, I, R> =>
  ({
    dtypes: [],
    operands: ["T"],
    repeats: false,
    results: ["T"],
    attributes: {},
    inPlace: false,
    exact: false,
    ...properties,
    shape
  }) as unknown as Declaration<F, I, R>

const dtypesText = (dtypes: ReadonlyArray<DType>): string =>
  dtypes.join() === floats.join() ? "a float" : dtypes.join(" or ")

/** Whatever an op takes. */
type AnyDeclaration = Declaration<Schema.Struct.Fields, ReadonlyArray<OperandType>, ReadonlyArray<ResultType>>

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
  attributes: object,
  operands: ReadonlyArray<ValueType>
): ReadonlyArray<ValueType> | string => {
  const problem = operandProblem(declaration, operands)
  if (problem !== undefined) return problem
  const shape = declaration.shape(operands, attributes as never)
  if (typeof shape === "string") return shape
  const own = operands[declaration.operands.indexOf("T")]?.dtype
  const { dtype } = attributes as { readonly dtype?: DType }
  return declaration.results.map(result => ({
    dtype: result === "T" ? own! : result === "attribute" ? dtype! : result,
    shape
  }))
}
