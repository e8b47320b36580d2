/** A model that answers: requests become jobs of a decoder, and what the decoder tells becomes pieces of text. */
import { Effect, Queue, Stream } from "effect"
import { textKeys } from "../decoding/draws.ts"
import type { Tokenizer } from "../tokens/tokenizer.ts"
import type { Scored } from "./scores.ts"
import { type Decoder, type Decoding, type Job, type JobEvent, ServingError } from "./job.ts"
import { TextStream } from "./textStream.ts"

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
  readonly finished?: { readonly reason: "stop" | "length"; readonly tokens: number; readonly forwards: number }
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
      const queue = yield* Queue.unbounded<{ readonly index: number; readonly event: JobEvent }>()
      const texts = Array.from({ length: count }, () => ({ stream: new TextStream(tokenizer, stops), done: false }))
      const asked = texts.map((_, index) => prompts[Math.floor(index / n)]!)
      const keys = textKeys({ prompts: asked, seed: seed ?? Math.floor(Math.random() * 2 ** 32) })
      const jobs = texts.map((text, index): Job => ({
        prompt: asked[index]!,
        newTokens,
        key: keys[index]!,
        scorePrompt,
        alternatives,
        tell: event => void (left || Queue.offerUnsafe(queue, { index, event })),
        gone: () => left || text.done
      }))
      const fail = (error: ServingError) =>
        void Queue.offerUnsafe(queue, { index: 0, event: { type: "failed", error } })
      live.add(fail)
      yield* Effect.addFinalizer(() => Effect.sync(() => void live.delete(fail)))
      decoder.submit(decoding, jobs)
      // The last to be added is the first to run.
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          left = true
          decoder.look()
        })
      )

      const pieceOf = (index: number, event: JobEvent): Effect.Effect<ReadonlyArray<Piece>, ServingError> => {
        const text = texts[index]!
        const none = { index, text: "", tokens: [], scores: [] }
        if (event.type === "failed") return Effect.fail(event.error)
        if (text.done) return Effect.succeed([])
        const finish = (reason: "stop" | "length", forwards: number) => {
          text.done = true
          return { finished: { reason, tokens: text.stream.count, forwards } }
        }
        switch (event.type) {
          case "prompt":
            return Effect.succeed([{ ...none, promptScores: event.scores }])
          case "tokens": {
            const { scores, tokens } = event
            const piece = { index, tokens, scores, text: text.stream.push(tokens) }
            if (!text.stream.stopped) return Effect.succeed([piece])
            decoder.look()
            return Effect.succeed([{ ...piece, ...finish("stop", event.forwards) }])
          }
          case "done":
            return Effect.succeed([
              {
                ...none,
                text: text.stream.end(),
                ...finish(event.ended || text.stream.stopped ? "stop" : "length", event.forwards)
              }
            ])
        }
      }
      return Stream.fromQueue(queue).pipe(
        Stream.mapEffect(({ event, index }) => pieceOf(index, event)),
        Stream.flatMap(pieces => Stream.fromIterable(pieces)),
        Stream.takeUntil(() => texts.every(text => text.done))
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
