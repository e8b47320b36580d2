/** Decoders of prompts by masks where logits come to the host: of all new tokens at once, batch after batch, and block by block. */
import { Effect } from "effect"
import { blocksOf, type MaskDecoding } from "../decoding/blockSettings.ts"
import type { BlockReading } from "../decoding/blockRow.ts"
import { decodeBlocks } from "../decoding/blocks.ts"
import type { TextReader } from "../decoding/textPass.ts"
import { type Denoiser, diffusionGenerate } from "../decoding/diffusion.ts"
import { append } from "../pipeline/lists.ts"
import { randomKey } from "../tensor/random.ts"
import type { GeneratedTexts, GenerationRequest } from "./generator.ts"
import type { BatchRequest, BatchResult } from "./resident.ts"

/** Decodes all prompts of a request. */
export type Decode<E> = (request: GenerationRequest) => Effect.Effect<Omit<GeneratedTexts, "flops">, E>

export interface MaskOptions {
  readonly rows: number
  readonly newTokens: number
  readonly mask: number
  readonly pad: number
  /** End a text. */
  readonly ends: ReadonlySet<number>
  /** Stands behind a text's end. */
  readonly eos: number
  readonly decoding: MaskDecoding
}

/** As many prompts at a time as there are rows; all of a batch take the same passes. */
export const inBatches =
  <E>(
    decode: (request: BatchRequest) => Effect.Effect<BatchResult, E>,
    { newTokens, pad, rows }: Pick<MaskOptions, "newTokens" | "pad" | "rows">
  ): Decode<E> =>
  ({ onStep, prompts, seed, steps }) =>
    Effect.gen(function* () {
      const sequences: Array<Int32Array> = []
      const forwards: Array<number> = []
      let [passes, forwardMs] = [0, 0]
      for (let first = 0; first < prompts.length; first += rows) {
        const some = prompts.slice(first, first + rows)
        const made = yield* decode({
          prompts: some,
          seed,
          steps,
          pad,
          firstRow: first,
          ...(onStep === undefined
            ? {}
            : {
                onStep: (step, texts, confidences) =>
                  Effect.forEach([...texts.entries()], ([r, text]) => onStep(first + r, step, text, confidences[r]!), {
                    discard: true
                  })
              })
        })
        append(sequences, made.sequences)
        for (const _ of some) forwards.push(made.forwards)
        passes += made.forwards
        forwardMs += made.forwardMs
      }
      return { sequences, tokens: prompts.map(() => newTokens), forwards, passes, forwardMs }
    })

/** Decodes all new tokens at once. */
export const wholeDecoder =
  <E>(denoiser: Denoiser<E>, { decoding, mask, newTokens }: MaskOptions) =>
  ({ steps, ...request }: BatchRequest): Effect.Effect<BatchResult, E> =>
    timed(clock =>
      diffusionGenerate(
        { ...denoiser, logits: (...given) => clock(denoiser.logits(...given)) },
        { ...request, mask, maxNewTokens: newTokens, settings: { ...decoding, steps } }
      )
    )

/** Decodes block by block; behind the first end of text stand more of them. */
export const blockDecoder =
  <E>(
    reader: TextReader<E>,
    { attentionBlockSize: align, decoding, ends, eos, mask, newTokens, rows, tokenShift }: MaskOptions & BlockReading
  ): Decode<E> =>
  ({ ending, onStep, prompts, seed, steps, threshold }) =>
    timed(clock =>
      Effect.map(
        decodeBlocks(
          watched(reader, clock),
          prompts.map((ids, number) => ({ ids, newTokens, key: randomKey(seed, "block tokens", number) })),
          {
            rows,
            mask,
            ends,
            tokenShift,
            attentionBlockSize: align,
            ending,
            settings: blocksOf(threshold === undefined ? decoding : { ...decoding, threshold }, {
              newTokens,
              steps,
              ...(align === undefined ? {} : { align })
            }),
            ...(onStep === undefined
              ? {}
              : {
                  onStep: (number, step, tokens, confidence) =>
                    onStep(number, step, behind(prompts[number]!, tokens), confidence)
                })
          }
        ),
        ({ passes, texts }) => ({
          sequences: texts.map(({ tokens }, number) => {
            const whole = new Int32Array(newTokens).fill(eos)
            whole.set(tokens)
            return behind(prompts[number]!, whole)
          }),
          tokens: texts.map(({ tokens }) => tokens.length),
          forwards: texts.map(({ forwards }) => forwards),
          passes
        })
      )
    )

const behind = (prompt: ArrayLike<number>, tokens: Int32Array): Int32Array =>
  Int32Array.from([...Array.from(prompt), ...tokens])

/** Adds the time of an effect to a sum. */
type Clock = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** Tells how long the model took, whose every answer is taken with the clock. */
const timed = <E, A>(
  decode: (clock: Clock) => Effect.Effect<A, E>
): Effect.Effect<A & { readonly forwardMs: number }, E> =>
  Effect.suspend(() => {
    let forwardMs = 0
    const clock: Clock = effect =>
      Effect.suspend(() => {
        const begun = performance.now()
        return Effect.tap(effect, () => Effect.sync(() => void (forwardMs += performance.now() - begun)))
      })
    return Effect.map(decode(clock), made => ({ ...made, forwardMs }))
  })

const watched = <E>(reader: TextReader<E>, clock: Clock): TextReader<E> => {
  const { propose } = reader
  return {
    ...reader,
    read: passes => clock(reader.read(passes)),
    ...(propose === undefined ? {} : { propose: (...asked) => clock(propose(...asked)) })
  }
}
