/** Decoders of prompts by masks where logits come to the host: of all new tokens at once, batch after batch, and block by block. */
import { Effect } from "effect"
import { blocksOf, type MaskDecoding } from "../decoding/blockSettings.ts"
import type { BlockReading } from "../decoding/blockRow.ts"
import { decodeBlocks } from "../decoding/blocks.ts"
import type { TextReader } from "../decoding/textPass.ts"
import { type Denoiser, diffusionGenerate } from "../decoding/diffusion.ts"
import { append } from "../pipeline/lists.ts"
import type { RandomKey } from "../tensor/random.ts"
import type { GeneratedTexts, GenerationRequest } from "./generator.ts"
import type { BatchRequest, BatchResult } from "./resident.ts"

/** A request with the keys of its texts. */
export interface KeyedRequest extends Pick<GenerationRequest, "onStep" | "prompts" | "steps" | "threshold"> {
  readonly keys: ReadonlyArray<RandomKey>
}

/** Decodes all prompts of a request. */
export type Decode<E> = (request: KeyedRequest) => Effect.Effect<Omit<GeneratedTexts, "flops">, E>

export interface MaskOptions {
  readonly rows: number
  readonly newTokens: number
  readonly mask: number
  readonly pad: number
  readonly eos: number
  readonly decoding: MaskDecoding
}

/** As many prompts at a time as there are rows; all of a batch take the same passes. */
export const inBatches =
  <E>(
    decode: (request: BatchRequest) => Effect.Effect<BatchResult, E>,
    { newTokens, pad, rows }: Pick<MaskOptions, "newTokens" | "pad" | "rows">
  ): Decode<E> =>
  ({ keys, onStep, prompts, steps }) =>
    Effect.gen(function* () {
      const sequences: Array<Int32Array> = []
      const forwards: Array<number> = []
      let [passes, forwardMs] = [0, 0]
      for (let first = 0; first < prompts.length; first += rows) {
        const some = prompts.slice(first, first + rows)
        const made = yield* decode({
          steps,
          prompts: some,
          keys: keys.slice(first, first + rows),
          pad,
          ...(onStep === undefined
            ? {}
            : {
                onStep: (step, texts) =>
                  Effect.forEach([...texts.entries()], ([r, text]) => onStep(first + r, step, text), { discard: true })
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
    { attentionBlockSize: align, decoding, eos, mask, newTokens, rows, tokenShift }: MaskOptions & BlockReading
  ): Decode<E> =>
  ({ keys, onStep, prompts, steps, threshold }) =>
    timed(clock =>
      Effect.map(
        decodeBlocks(
          watched(reader, clock),
          prompts.map((ids, number) => ({ ids, newTokens, key: keys[number]! })),
          {
            rows,
            mask,
            eos,
            tokenShift,
            attentionBlockSize: align,
            settings: blocksOf(threshold === undefined ? decoding : { ...decoding, threshold }, {
              newTokens,
              steps,
              ...(align === undefined ? {} : { align })
            }),
            ...(onStep === undefined
              ? {}
              : { onStep: (number, step, tokens) => onStep(number, step, behind(prompts[number]!, tokens)) })
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
    ...(propose === undefined ? {} : { propose: (passes, alg) => clock(propose(passes, alg)) })
  }
}
