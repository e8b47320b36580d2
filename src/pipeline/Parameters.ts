/** The parameters of a call, from what was written to what a stage gets and its key holds. */
import { Result, Schema } from "effect"
import { canonical } from "./Digest.ts"
import { fromIssue, type SchemaProblem } from "./SchemaProblem.ts"
import { mayHoldSecrets, secretIn } from "./Secrets.ts"
import type { AnyStage } from "./Stage.ts"

/** By stage: a schema that refuses at least what the stage's own does, and says more of why. */
export interface Explain {
  readonly [stage: string]: Schema.Codec<unknown, unknown>
}

/** Parameters of a call, and as the text that enters its key. */
export interface Decoded {
  readonly decoded: unknown
  readonly text: string
}

export type Decoder = (value: unknown, label: string) => Result.Result<Decoded, ReadonlyArray<SchemaProblem>>

const strict = { errors: "all", onExcessProperty: "error" } as const

/** Decodes and re-encodes, so that defaults are part of the text that enters the key. `explain` is asked where the stage's own schema refuses. */
export const makeDecoder = (stage: AnyStage, explain: Schema.Codec<unknown, unknown>): Decoder => {
  const decode = Schema.decodeUnknownResult(stage.parameters, strict)
  const encode = Schema.encodeUnknownSync(stage.parameters)
  const takesNone = "fields" in stage.parameters && Object.keys(stage.parameters.fields as object).length === 0
  return (value, label) => {
    // The schema of an empty record lets every key pass.
    if (takesNone && Object.keys(value as object).length > 0) {
      return Result.fail(
        Object.keys(value as object).map(key => ({
          kind: "unknown",
          path: [key],
          message: `${label}.${key} is not known`,
          advice: `stage ${stage.name} takes no parameters`
        }))
      )
    }
    const result = decode(value)
    if (Result.isFailure(result)) {
      const explained = Schema.decodeUnknownResult(explain, strict)(value)
      const { issue } = Result.isFailure(explained) ? explained.failure : result.failure
      return Result.fail(fromIssue(issue, value, label))
    }
    const decoded = result.success
    try {
      const encoded = encode(decoded)
      const text = canonical(encoded)
      // The process of an action decodes this text: it must be able to, and nothing may come of it that was not planned.
      const written = decode(JSON.parse(text))
      if (Result.isFailure(written)) {
        const why = "what is written of them does not decode to them"
        return Result.fail([
          {
            kind: "value",
            path: [],
            message: `the parameters of ${label} have no key: ${why} (${written.failure.message})`
          }
        ])
      }
      const secrets = mayHoldSecrets(text) ? secretsIn(encoded, [], label) : []
      return secrets.length > 0 ? Result.fail(secrets) : Result.succeed({ decoded: written.success, text })
    } catch (cause) {
      // A number that is none, or what the schema does not turn back into JSON: it cannot enter a key.
      const why = cause instanceof Error ? cause.message : String(cause)
      return Result.fail([{ kind: "value", path: [], message: `the parameters of ${label} have no key: ${why}` }])
    }
  }
}

/** Parameters are recorded as they are written: in the ledger, in logs, in requests. */
const secretsIn = (value: unknown, path: ReadonlyArray<PropertyKey>, label: string): ReadonlyArray<SchemaProblem> => {
  if (typeof value === "string") {
    const found = secretIn(value)
    if (found === undefined) return []
    const message = `${label}.${path.join(".")} holds ${found}; parameters are recorded, so a secret cannot be one`
    const advice = "give it in an environment variable: sources of downloads take https://HOST/PATH?$NAME"
    return [{ kind: "value", path, message, advice }]
  }
  if (typeof value !== "object" || value === null) return []
  return Object.entries(value).flatMap(([key, below]) => secretsIn(below, [...path, key], label))
}
