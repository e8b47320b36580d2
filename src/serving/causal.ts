/** Serves a causal model: texts join those that are being written as rows become free, and leave when they end. A prompt is read in parts, beside the tokens of the others. */
import { Effect, type Scope } from "effect"
import { CausalText, causalStep } from "../decoding/causal.ts"
import { OpenBatch } from "../decoding/openBatch.ts"
import type { TextReader } from "../decoding/textPass.ts"
import type { EngineError } from "../engines/Engine.ts"
import type { Decoder } from "./job.ts"
import { makeLanes } from "./lanes.ts"
import { mostAlternatives, type Scored, scoreOf } from "./scores.ts"

/** Tokens of a prompt that are read in a pass: who writes waits for no more, and their logits come to the host where a prompt is scored. */
const promptChunk = 32

export interface CausalServing {
  /** Texts that are written side by side, at most: as many as the reader has rows. */
  readonly rows: number
  /** Never drawn. */
  readonly mask: number
  /** End a text. */
  readonly ends: ReadonlySet<number>
}

/** What a job knows of its text, and the scores of tokens that it does not. */
interface Told {
  readonly prompt: Array<Scored>
  readonly made: Array<Scored>
  tokens: number
  scoredPrompt: boolean
}

/** Starts decoding; closing the scope ends it. */
export const makeCausalDecoder = (
  reader: Effect.Effect<TextReader<EngineError>, EngineError, Scope.Scope>,
  { ends, mask, rows }: CausalServing
): Effect.Effect<Decoder, never, Scope.Scope> =>
  makeLanes<CausalText>({
    kindOf: () => "",
    most: 1,
    open: () =>
      Effect.map(reader, model => {
        const toldOf = new WeakMap<CausalText, Told>()
        return {
          batch: new OpenBatch(rows, causalStep(model)),
          begin: ({ alternatives, key, newTokens, prompt, scorePrompt }, decoding) => {
            if (decoding.mode !== "ar") throw new TypeError("decodes token by token alone")
            const told: Told = { prompt: [], made: [], tokens: 0, scoredPrompt: !scorePrompt }
            const observe = (place: number, logits: Float32Array, token: number): void => {
              if (place < prompt.length) told.prompt.push(scoreOf(logits, token, mostAlternatives))
              else if (alternatives !== undefined)
                told.made.push(scoreOf(logits, token, Math.min(alternatives, mostAlternatives)))
            }
            const text = new CausalText(
              { ids: prompt, newTokens, key },
              {
                sampling: decoding.sampling,
                ends,
                suppressed: [mask],
                chunk: promptChunk,
                scorePrompt,
                observe: scorePrompt || alternatives !== undefined ? observe : undefined
              }
            )
            toldOf.set(text, told)
            return text
          },
          tell: (job, text) => {
            const told = toldOf.get(text)!
            const { done, ended, forwards, tokens } = text
            if (!told.scoredPrompt && told.prompt.length === job.prompt.length - 1) {
              told.scoredPrompt = true
              job.tell({ type: "prompt", scores: told.prompt })
            }
            const more = Array.from(tokens.subarray(told.tokens))
            told.tokens = tokens.length
            if (more.length > 0) job.tell({ type: "tokens", tokens: more, scores: told.made.splice(0), forwards })
            if (done) job.tell({ type: "done", ended, forwards })
            return done
          }
        }
      })
  })
