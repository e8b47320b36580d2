/** One text that a client waits for, and what it is told of while the text is made. */
import { Schema } from "effect"
import type { MaskDecoding } from "../decoding/blockSettings.ts"
import { messageOf } from "../pipeline/Problem.ts"
import type { Sampling } from "../decoding/sampling.ts"
import type { RandomKey } from "../tensor/random.ts"
import type { Scored } from "./scores.ts"

/** Token by token, or from masks. */
export type Decoding =
  | { readonly mode: "ar"; readonly sampling: Sampling }
  | { readonly mode: "diffusion"; readonly settings: MaskDecoding & { readonly steps: number } }

/** A request could not be served, and why. `overloaded`: it may be asked again; `stopping`: the server ends; `failed`: the model could not decode it. */
export class ServingError extends Schema.TaggedError<ServingError>()("ServingError", {
  reason: Schema.Literals(["overloaded", "stopping", "failed"]),
  message: Schema.String
}) {}

/** The model, or what computes it, could not decode a text. */
export const failedBy = (cause: unknown): ServingError =>
  new ServingError({ reason: "failed", message: messageOf(cause) })

/** What the sink of a job is told. Tokens that were told stay as they are. */
export type JobEvent =
  | { readonly type: "prompt"; readonly scores: ReadonlyArray<Scored> }
  | {
      readonly type: "tokens"
      readonly tokens: ReadonlyArray<number>
      readonly scores: ReadonlyArray<Scored>
      /** Passes that the text took so far. */
      readonly forwards: number
    }
  /** `ended`: by an end of text, else by the length. `forwards`: passes that the text took. */
  | { readonly type: "done"; readonly ended: boolean; readonly forwards: number }
  | { readonly type: "failed"; readonly error: ServingError }

export interface Job {
  /** At least one token. */
  readonly prompt: Int32Array
  /** Tokens to be made at most; with 0 the prompt is read alone. */
  readonly newTokens: number
  /** What the text's numbers are drawn by (decoding/draws.ts). */
  readonly key: RandomKey
  /** Whether the prompt's tokens are scored, and how many alternatives are told of each token; undefined: no token is scored. */
  readonly scorePrompt: boolean
  readonly alternatives: number | undefined
  readonly tell: (event: JobEvent) => void
  /** Whether nobody waits for it any more. */
  readonly gone: () => boolean
}

/** What decodes jobs: as many at once as there is room for, the others in the order in which they came. */
export interface Decoder {
  /** Jobs of one request, all with the same decoding. */
  readonly submit: (decoding: Decoding, jobs: ReadonlyArray<Job>) => void
  /** Looks at once for jobs that are gone. */
  readonly look: () => void
}
