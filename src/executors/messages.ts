/** What the process of an action may say to the runner: everything else that comes from there is passed over. */
import { Option, Schema } from "effect"
import { ErrorClass } from "../pipeline/StageError.ts"
import type { FromWorker } from "./Executor.ts"

const Begun = Schema.Struct({ type: Schema.Literal("begun") })

const Moved = Schema.Struct({
  type: Schema.Literal("progress"),
  progress: Schema.Struct({
    done: Schema.Finite,
    total: Schema.optionalKey(Schema.Finite),
    unit: Schema.optionalKey(Schema.String),
    note: Schema.optionalKey(Schema.String)
  })
})

const Over = Schema.Struct({
  type: Schema.Literal("ended"),
  ended: Schema.Union([
    Schema.Struct({ _tag: Schema.Literal("Done") }),
    Schema.Struct({
      _tag: Schema.Literal("Failed"),
      class: ErrorClass,
      message: Schema.String,
      advice: Schema.optionalKey(Schema.String),
      object: Schema.optionalKey(Schema.String),
      artifact: Schema.optionalKey(Schema.String)
    })
  ])
})

const decode = Schema.decodeUnknownOption(Schema.Union([Begun, Moved, Over]))

/** An end must be heard: without it the action would go on for ever. */
const unintelligible: FromWorker = {
  type: "ended",
  ended: {
    _tag: "Failed",
    class: "permanent",
    message: "the process ended its work with a message that cannot be understood"
  }
}

/** A message that has the job's word; undefined for anything else. A stage can write to the pipe, but does not know the word. */
export const messageFrom = (text: unknown, word: string): FromWorker | undefined => {
  if (typeof text !== "object" || text === null || !("word" in text) || text.word !== word) return undefined
  const known = Option.getOrUndefined(decode(text))
  return known ?? ("type" in text && text.type === "ended" ? unintelligible : undefined)
}
