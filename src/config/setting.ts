/**
 * Fields of settings, with a default where they have one. What a field means stands in the comment above it, from which docs/configuration.md is made: words are no
 * part of a stage's code.
 */
import { Effect, Schema } from "effect"

/** A field that may be left out. */
export const setting = <S extends Schema.Top>(schema: S, value: NoInfer<S["Encoded"]>) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

export const NonNegative = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
export const Positive = Schema.Finite.check(Schema.isGreaterThan(0))
export const Share = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
export const PositiveInt = Schema.Int.check(Schema.isGreaterThan(0))
export const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
