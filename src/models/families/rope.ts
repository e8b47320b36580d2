/** Fields of `config.json` for rotary positions and activations, which the families of Qwen share. */
import { Schema } from "effect"
import { type ModelConfigError, refuse } from "../config.ts"
import { Theta, withDefault } from "./family.ts"

export const ropeFields = {
  rope_theta: Schema.optionalKey(Theta),
  rope_scaling: Schema.optionalKey(Schema.NullOr(Schema.Unknown)),
  /** The newer place of both. */
  rope_parameters: Schema.optionalKey(
    Schema.Struct({ rope_type: withDefault(Schema.String, "default"), rope_theta: Schema.optionalKey(Theta) })
  ),
  hidden_act: withDefault(Schema.String, "silu")
} as const
type RopeFields = Schema.Struct<typeof ropeFields>["Type"]

/** Where the file names no other. */
const defaultTheta = 10_000

export const ropeTheta = ({ rope_parameters: newer, rope_theta: theta }: RopeFields): number =>
  theta ?? newer?.rope_theta ?? defaultTheta

/** What would be computed otherwise. */
export const refusedRope = (fields: RopeFields): ModelConfigError | undefined => {
  const { hidden_act: activation, rope_parameters: rope, rope_scaling: scaling } = fields
  if (scaling !== undefined && scaling !== null) return refuse("rope_scaling", scaling, "null")
  if (rope !== undefined && rope.rope_type !== "default")
    return refuse("rope_parameters.rope_type", rope.rope_type, '"default"')
  if (activation !== "silu") return refuse("hidden_act", activation, '"silu"')
  return undefined
}
