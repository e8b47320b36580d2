/** Serves a model that decodes from masks, or from latents: texts with the same settings and sizes join those that are being written, each at its own step. */
import { Effect, type Scope } from "effect"
import type { WrittenText } from "../decoding/openBatch.ts"
import type { Engine } from "../engines/Engine.ts"
import type { Decoding as MethodDecoding } from "../methods/Method.ts"
import type { LoadedModel } from "../models/artifact.ts"
import type { Decoder, Decoding, Job } from "./job.ts"
import { makeLanes } from "./lanes.ts"

/** Prompts are brought to a multiple of so many tokens, so that few programs serve all. */
const promptStep = 32
/** Settings and sizes that are served at once; programs of the last ones are kept. */
const mostKinds = 4

export interface DiffusionServing {
  readonly engine: Engine
  readonly method: MethodDecoding
  readonly model: LoadedModel
  /** Texts of a kind that are decoded together, at most. */
  readonly rows: number
}

/** How many tokens from the first on are there to stay: those before the first mask, up to the end of text. */
export const settled = (tokens: Int32Array, mask: number, ends: ReadonlySet<number>): number => {
  const stop = tokens.findIndex(token => token === mask || ends.has(token))
  return stop < 0 ? tokens.length : stop
}

const settingsOf = (decoding: Decoding) => {
  if (decoding.mode !== "diffusion") throw new TypeError("decodes from masks alone")
  return decoding.settings
}

/** Starts decoding; closing the scope ends it. */
export const makeDiffusionDecoder = ({
  engine,
  method,
  model,
  rows
}: DiffusionServing): Effect.Effect<Decoder, never, Scope.Scope> => {
  const { ends, maskId } = model.tokenizer
  const sizesOf = ({ newTokens, prompt }: Job) => ({
    promptTokens: Math.ceil(prompt.length / promptStep) * promptStep,
    newTokens
  })
  return makeLanes<WrittenText>({
    kindOf: (decoding, job) => JSON.stringify([{ ...settingsOf(decoding), steps: 0 }, sizesOf(job)]),
    most: mostKinds,
    open: (given, job) => {
      const { steps: _, ...decoding } = settingsOf(given)
      // Tokens that `p2` reveals may be masked again.
      const stepwise = decoding.alg !== "p2"
      const shape = { ...sizesOf(job), prompts: rows, joined: true }
      return Effect.map(method.generator(engine, model, shape, decoding), generator => {
        const { batch, begin } = generator.open({ stepwise })
        /** Tokens that each client knows. */
        const toldOf = new WeakMap<WrittenText, number>()
        return {
          batch,
          begin: ({ key, prompt }, asked) => begin({ prompt, key, steps: settingsOf(asked).steps }),
          tell: (own, text) => {
            if (!stepwise && !text.done) return false
            const forwards = text.forwards + text.passesBeside
            const tokens = text.shown.subarray(own.prompt.length)
            const stay = settled(tokens, maskId, ends)
            const more = [...tokens.subarray(toldOf.get(text) ?? 0, stay)]
            if (more.length > 0) own.tell({ type: "tokens", tokens: more, scores: [], forwards })
            toldOf.set(text, stay)
            const isDone = stay === own.newTokens || tokens[stay] !== maskId
            if (isDone) own.tell({ type: "done", ended: stay < own.newTokens, forwards })
            return isDone
          }
        }
      })
    }
  })
}
