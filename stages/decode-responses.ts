/**
 * Lets a teacher answer prompts itself, block by block: a student can learn what it wrote, in the order in which it did (d3LLM; Qian et al. 2026, arXiv:2601.07568). The responses are sequences like
 * those of the data, and the orders are trajectories over them.
 */
import { Effect, Schema } from "effect"
import { ModelFiles, TokenSequences, Trajectories } from "../src/artifacts/kinds.ts"
import { PositiveInt, setting, Share } from "../src/config/setting.ts"
import type { BlockText } from "../src/decoding/blockRow.ts"
import { BlockDecoding } from "../src/decoding/blockSettings.ts"
import { decodeBlocks } from "../src/decoding/blocks.ts"
import { textKey } from "../src/decoding/draws.ts"
import { makeEngine } from "../src/engines/make.ts"
import { AnswerPattern, hasAnswerOf } from "../src/methods/shared/trajectories/answer.ts"
import { batchesOf } from "../src/methods/shared/trajectories/batches.ts"
import { materialOf, type Response, responsesOf } from "../src/methods/shared/trajectories/responses.ts"
import { loadTeacher, openTeacher } from "../src/methods/shared/trajectories/teacher.ts"
import { encodeTrajectory } from "../src/methods/shared/trajectories/trajectories.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { rowsThatFit } from "../src/sessions/generator.ts"
import { makeTextReader } from "../src/sessions/textReader.ts"
import { encodeSequences } from "../src/tokens/sequenceCodec.ts"

/** Note beside a sequence. */
interface ResponseNote {
  /** 1, or 0 where the response is not kept. */
  readonly sequences: number
  readonly tokens: number
  readonly learnt: number
  /** 1 where the response has an end of text. */
  readonly ended: number
}

export const decodeResponses = Stage.make("decode-responses", {
  inputs: {
    /** Asked with all positions in sight, as a diffusion model is. */
    teacher: ModelFiles,
    /** Their prompts are answered. */
    sequences: TokenSequences
  },
  parameters: Schema.Struct({
    ...BlockDecoding.fields,
    /** Tokens of a response, at most; fewer where prompt and response would be longer than the sequences may be */
    newTokens: setting(PositiveInt, 256),
    /** Share of a sequence that plays the prompt, where the data do not say which part is one */
    contextRatio: setting(Share, 0.25),
    /**
     * Keeps right responses alone: those in which this regular expression finds last what it finds last in the response of the data, `#### (.*)` for example. A group of it
     * is the answer, or all that it matches; lines are lines to it. Left out, all are kept
     */
    answer: Schema.optionalKey(AnswerPattern),
    /** Of the tokens that are drawn, with a temperature */
    seed: setting(Schema.Int, 0)
  }),
  outputs: { sequences: TokenSequences, trajectories: Trajectories },
  // One more prompt asks the model only for that response.
  items: { inputs: ["teacher"] },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("decode-responses")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const { answer, blockSize, contextRatio, newTokens, seed } = parameters
      const teacher = yield* openTeacher(inputs)
      const { config, sequences, tokenizer, tokenShift, vocabulary } = teacher
      const { maxSeqLen, vocabSize } = inputs.sequences.metadata
      const given = responsesOf(sequences, contextRatio)
      if (given.length === 0) return yield* permanent("no sequence has a prompt that could be answered")
      const promptOf = ({ ids, promptLength }: Response) => ids.subarray(0, promptLength)
      const roomOf = ({ promptLength }: Response) => Math.min(newTokens, maxSeqLen - promptLength)
      const textOf = ({ ids, promptLength }: Response) =>
        tokenizer.decode(ids.subarray(promptLength), { skipSpecialTokens: true })
      // The data's response matters only where it says what is right.
      const keys = given.map(each =>
        outputs.sequences.key(`${materialOf(each, answer === undefined ? promptOf(each) : each.ids)} ${roomOf(each)}`)
      )
      const noteOf = (key: (typeof keys)[number]) => outputs.sequences.note(key) as ResponseNote | undefined
      const isKept = (key: (typeof keys)[number]) => noteOf(key)?.sequences === 1
      const isMissing = (key: (typeof keys)[number]) =>
        !outputs.sequences.has(key) || (isKept(key) && !outputs.trajectories.has(key))
      const missing = new Map([...keys.entries()].filter(([, key]) => isMissing(key)).map(([i, key]) => [key, i]))
      yield* metric("responses/new", missing.size)
      yield* metric("responses/reused", keys.length - missing.size)

      let done = 0
      const keep = (i: number, text: BlockText) =>
        Effect.gen(function* () {
          const { idx, promptLength } = given[i]!
          const ids = Int32Array.from([...promptOf(given[i]!), ...text.tokens])
          const own: Response = { ids, promptLength, ...(idx === undefined ? {} : { idx }) }
          const right = answer === undefined || hasAnswerOf(answer, textOf(own), textOf(given[i]!))
          const learnt = text.tokens.length
          const note: ResponseNote = {
            sequences: Number(right),
            tokens: right ? ids.length : 0,
            learnt: right ? learnt : 0,
            ended: Number(text.tokens.length > 0 && tokenizer.ends.has(text.tokens.at(-1)!))
          }
          if (right)
            yield* outputs.trajectories.put(keys[i]!, encodeTrajectory(text, own), {
              tokens: learnt,
              forwards: text.forwards
            })
          const lossMask = new Uint8Array(ids.length).fill(1, promptLength)
          yield* outputs.sequences.put(keys[i]!, encodeSequences(right ? [{ ...own, lossMask }] : []), { ...note })
          yield* progress({ done: ++done, total: missing.size, unit: "responses" })
        })

      if (missing.size > 0) {
        const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
        const views = yield* loadTeacher(engine, teacher)
        // Of logits, those of a block come to the host.
        const most = rowsThatFit(config.vocabSize, { prompts: missing.size, promptTokens: 0, newTokens: blockSize })
        const tokensOf = (i: number) => given[i]!.promptLength + roomOf(given[i]!)
        for (const { batches, length, rows } of batchesOf([...missing.values()], tokensOf, most))
          yield* Effect.scoped(
            Effect.gen(function* () {
              const reader = yield* makeTextReader(engine, config, views, {
                rows,
                length,
                tokenShift,
                blockSize,
                mask: tokenizer.maskId
              })
              const asked = batches.flat()
              yield* decodeBlocks(
                reader,
                asked.map(i => {
                  const ids = promptOf(given[i]!)
                  return { ids, newTokens: roomOf(given[i]!), key: textKey(seed, ids) }
                }),
                {
                  rows,
                  tokenShift,
                  attentionBlockSize: config.attentionBlockSize,
                  mask: tokenizer.maskId,
                  ends: tokenizer.ends,
                  settings: parameters,
                  onText: (n, text) => keep(asked[n]!, text)
                }
              )
            })
          )
      }

      const kept = keys.filter(isKept)
      const sumOf = (field: keyof ResponseNote) => keys.reduce((sum, key) => sum + noteOf(key)![field], 0)
      yield* metric("responses/kept", kept.length)
      yield* metric("responses/without_end", keys.length - sumOf("ended"))
      if (kept.length === 0)
        return yield* permanent(
          `none of the ${keys.length} responses has the right answer`,
          "ask a better teacher, or leave the parameter answer out"
        )
      yield* outputs.sequences.finish(keys, {
        documents: keys.length,
        sequences: sumOf("sequences"),
        tokens: sumOf("tokens"),
        learnt: sumOf("learnt"),
        vocabSize,
        maxSeqLen
      })
      const forwardsOf = (key: (typeof keys)[number]) =>
        (outputs.trajectories.note(key) as { readonly forwards: number }).forwards
      yield* outputs.trajectories.finish(kept, {
        trajectories: kept.length,
        skipped: sequences.length - kept.length,
        tokens: sumOf("learnt"),
        forwards: kept.reduce((sum, key) => sum + forwardsOf(key), 0),
        mode: "decoded",
        maskId: tokenizer.maskId,
        vocabulary
      })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
