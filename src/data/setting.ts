/** Fields of settings: each with its meaning, from which docs/configuration.md is made, and with a default where it has one. */
import { Effect, Schema } from "effect"

/** A field that may be left out. `description`: meaning, unit, and what leaving it out means where the default alone does not tell. */
export const setting = <S extends Schema.Top>(schema: S, value: NoInfer<S["Encoded"]>, description: string) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value))).annotate({ description })

/** A field without a default. */
export const required = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

/** A field whose absence means something of its own. */
export const optional = <S extends Schema.Top>(schema: S, description: string) =>
  Schema.optionalKey(schema).annotate({ description })

/** A field of the field's configurations that this program does not take: `why`, and what to do instead. */
export const unsupported = (why: string) =>
  Schema.optionalKey(
    Schema.Unknown.check(Schema.makeFilter(() => `not supported: ${why}`)).pipe(Schema.annotate({ unsupported: why }))
  )

export const NonNegative = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
export const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
export const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
export const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
export const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
