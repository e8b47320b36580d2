/** How a stage fails: one error, with the class that decides whether another attempt makes sense. */
import { Schema } from "effect"

/**
 * - `transient`: the network, a busy disk; tried again after a pause.
 * - `permanent`: wrong input, wrong configuration, a bug; trying again changes nothing.
 * - `damaged`: an input's object is missing or has other bytes than its digest; the runner re-makes it, then tries again.
 * - `crashed`: the process died or was killed, for example for its memory.
 * - `timeout`: it ran longer than the stage allows.
 * - `stale`: what its key was made from changed while it ran; it is planned anew.
 * - `interrupted`: the user stopped the run.
 * - `storage`: the disk is full, read-only or forbidden.
 */
export const ErrorClass = Schema.Literals([
  "transient",
  "permanent",
  "damaged",
  "crashed",
  "timeout",
  "stale",
  "interrupted",
  "storage"
])
export type ErrorClass = typeof ErrorClass.Type

/** A stage's failure. `message` says what was wrong and where; `advice` what to do about it. */
export class StageError extends Schema.TaggedError<StageError>()("StageError", {
  class: ErrorClass,
  message: Schema.String,
  advice: Schema.optionalKey(Schema.String),
  /** The object at fault and the artifact that holds it, when the class is `damaged`. */
  object: Schema.optionalKey(Schema.String),
  artifact: Schema.optionalKey(Schema.String)
}) {}

export const permanent = (message: string, advice?: string) =>
  new StageError({ class: "permanent", message, ...(advice === undefined ? {} : { advice }) })

/** A failure in its stage's terms: the class decides whether another attempt makes sense. A stage's own failure stays what it is. */
export const asStageError = (error: {
  readonly message: string
  readonly class?: string
  readonly advice?: string
}): StageError =>
  error instanceof StageError
    ? error
    : new StageError({
        class:
          error.class === "transient" || error.class === "storage" || error.class === "crashed"
            ? error.class
            : "permanent",
        message: error.message,
        ...(error.advice === undefined ? {} : { advice: error.advice })
      })
