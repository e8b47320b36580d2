/** Fields of `config.json` for rotary positions and activations, which the families of Qwen share. */
import { Schema } from "effect"
import { type ModelConfigError, refuse } from "../config.ts"
import { positiveUpTo, Theta, withDefault } from "./family.ts"

const PartialRotary = positiveUpTo(1)

const RopeParameters = Schema.StructWithRest(
  Schema.Struct({
    rope_type: Schema.optionalKey(Schema.String),
    /** Its older name. */
    type: Schema.optionalKey(Schema.String),
    rope_theta: Schema.optionalKey(Theta),
    partial_rotary_factor: Schema.optionalKey(PartialRotary)
  }),
  [Schema.Record(Schema.String, Schema.Unknown)]
)

export const ropeFields = {
  rope_theta: Schema.optionalKey(Theta),
  /** The older name of `rope_parameters`; where a file has both, it counts. */
  rope_scaling: Schema.optionalKey(Schema.NullOr(RopeParameters)),
  /** Its numbers go before those beside it. */
  rope_parameters: Schema.optionalKey(Schema.NullOr(RopeParameters)),
  partial_rotary_factor: Schema.optionalKey(PartialRotary),
  hidden_act: withDefault(Schema.String, "silu")
} as const
type RopeFields = Schema.Struct<typeof ropeFields>["Type"]

/** Of images: text has one position, whatever they say. */
const lists: ReadonlySet<string> = new Set(["mrope_section"])

/** Where the file names no other. */
const defaultTheta = 10_000

/** The one of the two places that counts, by its name: as in transformers, an empty `rope_scaling` does not. */
const placeOf = ({ rope_parameters: newer, rope_scaling: older }: RopeFields) =>
  older !== undefined && older !== null && Object.keys(older).length > 0
    ? (["rope_scaling", older] as const)
    : (["rope_parameters", newer ?? {}] as const)

export const ropeTheta = (fields: RopeFields): number =>
  placeOf(fields)[1].rope_theta ?? fields.rope_theta ?? defaultTheta

/** Of a head so much is rotated; undefined where the file does not say. */
export const rotatedShare = (fields: RopeFields): number | undefined =>
  placeOf(fields)[1].partial_rotary_factor ?? fields.partial_rotary_factor

/** What would be computed otherwise. */
export const refusedRope = (fields: RopeFields): ModelConfigError | undefined => {
  const { hidden_act: activation } = fields
  const [place, rope] = placeOf(fields)
  const field = rope.rope_type === undefined && rope.type !== undefined ? "type" : "rope_type"
  const type = rope[field] ?? "default"
  if (type !== "default") return refuse(`${place}.${field}`, type, '"default"')
  // Kinds of layers may have parameters of their own.
  const nested = Object.keys(rope).find(key => typeof rope[key] === "object" && rope[key] !== null && !lists.has(key))
  if (nested !== undefined) return refuse(`${place}.${nested}`, rope[nested], "one set of parameters for all layers")
  if (activation !== "silu") return refuse("hidden_act", activation, '"silu"')
  return undefined
}
