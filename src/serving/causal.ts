/** Serves a causal model: texts join those that are being written as rows become free, and leave when they end (continuous batching; Yu et al. 2022, Orca). */
import { Cause, Effect, Latch, type Scope } from "effect"
import { sampleToken, type Sampling } from "../decoding/sampling.ts"
import type { EngineError } from "../engines/Engine.ts"
import { type RandomKey, subkey, uniformAt } from "../tensor/random.ts"
import { type CausalBatch, mostAlternatives, scoreOf } from "./causalBatch.ts"
import { type Decoder, failedBy, type Job } from "./job.ts"

interface Waiting {
  readonly job: Job
  readonly sampling: Sampling
}

/** A text that is being written in a row. */
interface Writing extends Waiting {
  readonly slot: number
  readonly key: RandomKey
  made: number
  /** The last token, which the next pass reads. */
  token: number
}

export interface CausalServing {
  /** Never drawn. */
  readonly mask: number
  /** End a text. */
  readonly ends: ReadonlySet<number>
}

/** Starts decoding; closing the scope ends it. */
export const makeCausalDecoder = (
  batch: CausalBatch,
  { ends, mask }: CausalServing
): Effect.Effect<Decoder, never, Scope.Scope> =>
  Effect.gen(function* () {
    let waiting: Array<Waiting> = []
    const slots = Array.from({ length: batch.rows }, (): Writing | undefined => undefined)
    const work = yield* Latch.make()
    const writing = (): ReadonlyArray<Writing> => slots.filter(each => each !== undefined)
    const leave = (each: Writing): void => void (slots[each.slot] = undefined)

    /** Draws a row's next token; true where the text goes on. */
    const draw = (each: Writing, logits: Float32Array): boolean => {
      const { job, key, sampling } = each
      const raw = job.alternatives === undefined ? undefined : logits.slice()
      if (mask < logits.length) logits[mask] = -Infinity
      const { token } = sampleToken(logits, sampling, uniformAt(key, each.made))
      const end = (ended: boolean): false => {
        leave(each)
        // The end of text is one more token that was found.
        job.tell({ type: "done", ended, forwards: each.made + (ended ? 1 : 0) })
        return false
      }
      if (ends.has(token)) return end(true)
      each.made++
      each.token = token
      const scores = raw === undefined ? [] : [scoreOf(raw, token, Math.min(job.alternatives!, mostAlternatives))]
      job.tell({ type: "tokens", tokens: [token], scores, forwards: each.made })
      return each.made < job.newTokens || end(false)
    }

    /** Fails one text, whatever went wrong with it, and leaves the others be. */
    const drawn = (each: Writing, logits: Float32Array): void => {
      try {
        draw(each, logits)
      } catch (cause) {
        leave(each)
        each.job.tell({ type: "failed", error: failedBy(cause) })
      }
    }

    const begin = (slot: number, { job, sampling }: Waiting): Effect.Effect<void, EngineError> =>
      Effect.gen(function* () {
        const each: Writing = { job, sampling, slot, key: subkey(job.key, "tokens"), made: 0, token: 0 }
        slots[slot] = each
        const { next, scores } = yield* batch.read(slot, job.prompt, { scored: job.scorePrompt })
        if (job.scorePrompt) job.tell({ type: "prompt", scores })
        if (job.newTokens > 0) return drawn(each, next)
        leave(each)
        job.tell({ type: "done", ended: false, forwards: 0 })
      })

    const sweep = (): void => {
      waiting = waiting.filter(({ job }) => !job.gone())
      for (const each of writing()) if (each.job.gone()) leave(each)
    }

    /** A prompt is read, then all rows take a token: who writes waits for one prompt at most. */
    const round = Effect.gen(function* () {
      sweep()
      const slot = slots.indexOf(undefined)
      if (slot >= 0 && waiting.length > 0) yield* begin(slot, waiting.shift()!)
      sweep()
      const open = writing()
      if (open.length === 0) {
        if (waiting.length === 0) yield* Effect.andThen(Latch.close(work), work.await)
        return
      }
      const found = yield* batch.step(
        open.map(each => ({
          slot: each.slot,
          token: each.token,
          position: each.job.prompt.length + each.made - 1
        }))
      )
      for (const [i, each] of open.entries()) drawn(each, found[i]!)
    })

    const guarded = Effect.catchCause(round, cause =>
      Cause.hasInterrupts(cause)
        ? Effect.failCause(cause)
        : Effect.sync(() => {
            const error = failedBy(Cause.squash(cause))
            for (const each of writing()) {
              leave(each)
              each.job.tell({ type: "failed", error })
            }
          })
    )
    yield* Effect.forkScoped(Effect.forever(guarded))
    return {
      submit: (decoding, jobs) => {
        if (decoding.mode !== "ar") throw new TypeError("decodes token by token alone")
        for (const job of jobs) waiting.push({ job, sampling: decoding.sampling })
        work.openUnsafe()
      },
      look: () => void work.openUnsafe()
    } satisfies Decoder as Decoder
  })
