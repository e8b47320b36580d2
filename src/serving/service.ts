/** A model that answers: requests become jobs of a decoder, and what the decoder tells becomes pieces of text. */
import { Effect, Queue, Stream } from "effect"
import { textKeys } from "../decoding/draws.ts"
import type { Tokenizer } from "../tokens/tokenizer.ts"
import type { Scored } from "./scores.ts"
import { type Decoder, type Decoding, failedBy, type Job, type JobEvent, ServingError } from "./job.ts"
import { type Stopped, TextStream } from "../tokens/textStream.ts"

/** Texts that are asked for together. */
export interface Asked {
  readonly decoding: Decoding
  readonly prompts: ReadonlyArray<Int32Array>
  /** Texts for each prompt; text i of prompt p has number p n + i. */
  readonly n: number
  readonly newTokens: number
  readonly seed: number | undefined
  readonly stops: ReadonlyArray<string>
  readonly scorePrompt: boolean
  readonly alternatives: number | undefined
}

/** What is new of a text. */
export interface Piece {
  readonly index: number
  readonly text: string
  /** Tokens that are told, with their scores where these were asked for. */
  readonly tokens: ReadonlyArray<number>
  readonly scores: ReadonlyArray<Scored>
  /** Of the prompt, once. */
  readonly promptScores?: ReadonlyArray<Scored>
  /** The text's last piece: why it ends, its tokens in all, and the forward passes that it took. */
  readonly finished?: { readonly reason: Stopped; readonly tokens: number; readonly forwards: number }
}

export interface Service {
  /** Texts that may be waited for at once. */
  readonly most: number
  /** The pieces of all texts as they are made. Whoever stops listening leaves nothing behind. */
  readonly ask: (asked: Asked) => Stream.Stream<Piece, ServingError>
  /** Texts that are waited for. */
  readonly outstanding: () => number
  /** No request is taken any more. */
  readonly close: () => void
  /** All that wait are told that nothing more comes. */
  readonly endAll: () => void
}

export interface ServiceOptions extends Pick<Service, "most"> {
  readonly tokenizer: Pick<Tokenizer, "decode">
  /** Started when it is needed first. */
  readonly decoderOf: (mode: Decoding["mode"]) => Effect.Effect<Decoder, ServingError>
}

const stopping = new ServingError({ reason: "stopping", message: "the server is stopping" })

export const makeService = ({ decoderOf, most, tokenizer }: ServiceOptions): Service => {
  let outstanding = 0
  let closed = false
  const live = new Set<(error: ServingError) => void>()

  const begin = ({ alternatives, decoding, n, newTokens, prompts, scorePrompt, seed, stops }: Asked) =>
    Effect.gen(function* () {
      const count = prompts.length * n
      if (closed) return yield* stopping
      if (outstanding + count > most)
        return yield* new ServingError({
          reason: "overloaded",
          message: `${outstanding} texts are waited for already, and at most ${most} can be; this request asks for ${count}. Try again later`
        })
      let left = false
      outstanding += count
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          left = true
          outstanding -= count
        })
      )
      const decoder = yield* decoderOf(decoding.mode)
      const queue = yield* Queue.unbounded<Piece | ServingError>()
      const texts = Array.from({ length: count }, () => ({ stream: new TextStream(tokenizer, stops), done: false }))
      /** What a job is told, as a piece of its text. A stop string ends the job in the same moment, so that whoever decodes it sees that it is gone before the next pass. */
      const pieceOf = (index: number, event: Exclude<JobEvent, { readonly type: "failed" }>): Piece => {
        const text = texts[index]!
        const none = { index, text: "", tokens: [], scores: [] }
        const finish = (otherwise: Stopped, forwards: number) => {
          text.done = true
          const reason = text.stream.stopped ? "stop string" : otherwise
          return { finished: { reason, tokens: text.stream.count, forwards } as const }
        }
        switch (event.type) {
          case "prompt":
            return { ...none, promptScores: event.scores }
          case "tokens": {
            const { forwards, scores, tokens } = event
            const piece = { index, tokens, scores, text: text.stream.push(tokens) }
            return text.stream.stopped ? { ...piece, ...finish("stop string", forwards) } : piece
          }
          case "done": {
            const rest = text.stream.end()
            return { ...none, text: rest, ...finish(event.ended ? "end of text" : "length", event.forwards) }
          }
        }
      }
      const tell = (index: number, event: JobEvent): void => {
        const text = texts[index]!
        if (left || text.done) return
        try {
          Queue.offerUnsafe(queue, event.type === "failed" ? event.error : pieceOf(index, event))
        } catch (cause) {
          // A tokenizer may refuse what it is given: that is this request's failure alone.
          text.done = true
          Queue.offerUnsafe(queue, failedBy(cause))
        }
        if (text.stream.stopped) decoder.look()
      }
      const asked = texts.map((_, index) => prompts[Math.floor(index / n)]!)
      const keys = textKeys({ prompts: asked, seed: seed ?? Math.floor(Math.random() * 2 ** 32) })
      const jobs = texts.map((text, index): Job => ({
        prompt: asked[index]!,
        newTokens,
        key: keys[index]!,
        scorePrompt,
        alternatives,
        tell: event => tell(index, event),
        gone: () => left || text.done
      }))
      const fail = (error: ServingError) => void Queue.offerUnsafe(queue, error)
      live.add(fail)
      yield* Effect.addFinalizer(() => Effect.sync(() => void live.delete(fail)))
      let open = count
      decoder.submit(decoding, jobs)
      // The last to be added is the first to run.
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          left = true
          decoder.look()
        })
      )
      return Stream.fromQueue(queue).pipe(
        Stream.mapEffect(told => (told instanceof ServingError ? Effect.fail(told) : Effect.succeed(told))),
        Stream.takeUntil(({ finished }) => finished !== undefined && --open === 0)
      )
    })

  return {
    most,
    ask: asked => Stream.unwrap(begin(asked)),
    outstanding: () => outstanding,
    close: () => void (closed = true),
    endAll: () => {
      for (const fail of live) fail(stopping)
    }
  }
}
