/**
 * Decoding by masked diffusion where the model computes: one program per step draws the likeliest tokens, finds the surest and reveals them, so that nothing leaves the device for many steps. It
 * makes exactly the texts of the host (`decoding/whole.ts`), which compares confidences in f64: where the order of two is closer than f32 can tell, the program stays at the step, and the host looks at the
 * logits of these places alone.
 */
import { Effect, Scope } from "effect"
import { type CanvasShape, canvasArrays } from "../decoding/canvas.ts"
import { type DiffusionDecoding, judge, surest } from "../decoding/diffusion.ts"
import { type Advance, clocked, type Placed } from "../decoding/openBatch.ts"
import type { WholeText } from "../decoding/whole.ts"
import { goesInBlocks, type MaskDecoding } from "../decoding/blockSettings.ts"
import type { Buffers, Engine, EngineError } from "../engines/Engine.ts"
import type { ModelConfig } from "../models/config.ts"
import { forward, logits, weightsOf } from "../models/decoder.ts"
import { zeros } from "../tensor/composites.ts"
import {
  add,
  and,
  argmax,
  cast,
  concat,
  constant,
  equal,
  gather,
  input,
  iota,
  less,
  max,
  neg,
  not,
  reshape,
  scatterAddAlong,
  select,
  sliceAxis,
  sub,
  topK
} from "../tensor/ops.ts"
import type { Tensor } from "../tensor/Tensor.ts"
import { type Bounded, surelyAmong, undrawable } from "../decoding/surely.ts"
import { confidenceIn, never, probabilityIn } from "./confidence.ts"
import type { OpenOptions } from "./generator.ts"
import { inputsOf, makeSession } from "./session.ts"
import { least } from "../pipeline/lists.ts"

export interface ResidentOptions extends CanvasShape {
  readonly mask: number
  readonly pad: number
  readonly tokenShift: boolean
  readonly decoding: Omit<DiffusionDecoding, "steps">
}

/**
 * Whether a decoding can be had here. Drawing at random adds up a vocabulary's probabilities until a random number is reached, as does `topP`: there f32 would be in doubt at nearly every token.
 * The noise of `algTemp` is the host's as well.
 */
export const isResident = (decoding: MaskDecoding): boolean => {
  const { alg, algTemp, temperature, topP = 1 } = decoding
  return !goesInBlocks(decoding) && temperature === 0 && topP === 1 && (algTemp === 0 || alg === "origin")
}

/** Steps that are run before the host asks whether one was in doubt, at most. */
const stepsAtOnce = 8
/** What is run after a doubt is for nothing: steps without one that allow one more at once, so that an eighth of all is in vain at most. */
const sureStepsPerStep = 8

interface StepKind {
  /** Whether prompts may be shorter than others. */
  readonly padded: boolean
  /** Whether the tokens' probabilities are asked for. */
  readonly watched: boolean
}

/** One step, from prompts [rows, length - newTokens] and what stands behind them, [rows, newTokens]. */
const traceStep = (
  config: ModelConfig,
  parameter: (name: string) => Tensor,
  { decoding, length, mask, newTokens, rows, tokenShift }: ResidentOptions,
  { padded, watched }: StepKind
): { readonly [name: string]: Tensor } => {
  const { alg, topK: kept } = decoding
  const places = rows * newTokens
  const weights = weightsOf(config, parameter)
  const response = input("response", "i32", [rows, newTokens])
  const step = input("step", "i32", [1])
  const ids = concat([input("prompt", "i32", [rows, length - newTokens]), response], 1)
  const { final } = forward(config, weights, ids, {
    causal: false,
    ...(padded
      ? { segmentIds: input("segmentIds", "i32", [rows, length]), positions: input("positions", "i32", [rows, length]) }
      : {})
  })
  const first = length - newTokens - (tokenShift ? 1 : 0)
  const hidden = reshape(sliceAxis(final, 1, first, first + newTokens), [places, config.hiddenSize])
  const found = logits(hidden, weights) // [places, V]
  const drawable = add(
    found,
    constant(new Float32Array(config.vocabSize).fill(never, mask, mask + 1), "f32", [config.vocabSize])
  )
  const there = reshape(response, [places])
  const masked = equal(there, mask)
  const likeliest = cast(argmax(drawable, 1), "i32")
  const tokens = alg === "p2" ? select(masked, likeliest, there) : likeliest
  const confidence = confidenceIn(kept === undefined ? drawable : largest(drawable, kept), tokens, alg)

  const byRow = (x: Tensor): Tensor => reshape(x, [rows, newTokens])
  const [score, tolerance] = [byRow(confidence.score), byRow(confidence.tolerance)]
  // `p2` judges all places again.
  const open = alg === "p2" ? equal(zeros("i32", [rows, newTokens]), 0) : byRow(masked)
  const surestOf = (counts: Tensor): Tensor => {
    const { indices } = topK(select(open, score, never), newTokens)
    const firstOnes = cast(less(iota("i32", [rows, newTokens]), counts), "i32")
    return equal(scatterAddAlong(zeros("i32", [rows, newTokens]), indices, firstOnes, 1), 1)
  }
  const chosen = and(
    open,
    alg === "origin"
      ? equal(input("revealedAt", "i32", [rows, newTokens]), step)
      : surestOf(reshape(gather(input("counts", "i32", [stepsAtOnce, rows]), step), [rows, 1]))
  )
  const next = select(chosen, byRow(tokens), alg === "p2" ? constant(mask, "i32") : response)

  const lowestChosen = neg(max(select(chosen, sub(tolerance, score), -Infinity), 1)) // [rows]
  const highestLeft = max(select(and(open, not(chosen)), add(score, tolerance), -Infinity), 1)
  const drawn = less(max(select(open, tolerance, 0), 1), undrawable)
  const sure = alg === "origin" ? drawn : and(drawn, less(highestLeft, lowestChosen))
  const allSure = equal(max(cast(not(sure), "i32"), 0, { keepDims: true }), 0) // [1]
  return {
    nextResponse: select(allSure, next, response),
    nextStep: add(step, cast(allSure, "i32")),
    logits: found,
    tokens,
    score,
    tolerance,
    ...(watched ? { probability: probabilityIn(drawable, likeliest) } : {})
  }
}

/** The k largest of each row, and those that tie with the last of them; `never` for all others. */
const largest = (scores: Tensor, k: number): Tensor => {
  if (k >= scores.shape[1]!) return scores
  const last = sliceAxis(topK(scores, k).values, 1, k - 1, k)
  return select(less(scores, last), never, scores)
}

/** Prepares a model whose parameters lie in buffers. What it returns moves the texts of a batch on: by one step each where they are looked at stepwise or watched, or by some. */
export const makeResidentStep = (
  engine: Engine,
  config: ModelConfig,
  parameters: Buffers,
  options: ResidentOptions
): Effect.Effect<
  (asked: Pick<OpenOptions, "stepwise" | "watched">) => Advance<WholeText, EngineError>,
  never,
  Scope.Scope
> =>
  Effect.gen(function* () {
    const { decoding, length, mask, newTokens, pad, rows } = options
    const scope = yield* Effect.scope
    const sessionOf = (kind: StepKind) =>
      Effect.cached(
        Effect.provideService(
          Effect.suspend(() =>
            makeSession(engine, traceStep(config, inputsOf(parameters), options, kind), parameters, {
              nextResponse: "response",
              nextStep: "step"
            })
          ),
          Scope.Scope,
          scope
        )
      )
    // Without padding nothing is masked, which attention has faster ways for.
    const kinds = [false, true].flatMap(padded => [false, true].map(watched => ({ padded, watched })))
    const made = yield* Effect.forEach(kinds, kind => Effect.map(sessionOf(kind), session => ({ kind, session })))
    type Session_ = Effect.Success<(typeof made)[number]["session"]>
    const read = <Array_ extends Int32Array | Float32Array>({ memory }: Session_, name: string) =>
      Effect.map(engine.download(memory[name]!), values => values as Array_)

    /** Steps since the last doubt. */
    let sure = stepsAtOnce * sureStepsPerStep

    /** Makes a step, at which the program stayed: the host judges the places whose order is in doubt. `ahead`: steps that were made before it. */
    const settle = (session: Session_, open: ReadonlyArray<Placed<WholeText>>, ahead: number) =>
      Effect.gen(function* () {
        const [score, tolerance] = [
          yield* read<Float32Array>(session, "score"),
          yield* read<Float32Array>(session, "tolerance")
        ]
        const [tokens, response] = [
          yield* read<Int32Array>(session, "tokens"),
          yield* read<Int32Array>(session, "response")
        ]
        for (const { row, text } of open) {
          const at = text.forwards + ahead
          const { chosen, revealedAt } = text.plan
          const all = Array.from({ length: newTokens }, (_, i) => row * newTokens + i)
          const places = all
            .filter(place => decoding.alg === "p2" || response[place] === mask)
            .map((place): Bounded => ({ place, score: score[place]!, tolerance: tolerance[place]! }))
          const { certain, contested } =
            revealedAt === undefined
              ? surelyAmong(places, chosen[at]!)
              : {
                  certain: places.filter(({ place }) => revealedAt[place - row * newTokens] === at),
                  contested: places.filter(each => each.tolerance >= undrawable)
                }
          const judged = yield* Effect.forEach(contested, ({ place }) =>
            Effect.gen(function* () {
              const own = yield* engine.view(session.memory["logits"]!, place * config.vocabSize, [config.vocabSize])
              const logitsThere = (yield* engine.download(own)) as Float32Array
              logitsThere[mask] = -Infinity
              const there = response[place] === mask ? undefined : response[place]
              return judge({ ...decoding, steps: 1 }, { place, logits: logitsThere, there, uniform: 0 })
            })
          )
          const kept = [...certain, ...surest(judged, (chosen[at] ?? 0) - certain.length)]
          if (decoding.alg === "p2") for (const place of all) response[place] = mask
          for (const { place } of kept) response[place] = tokens[place]!
        }
        yield* session.upload({ response })
      })

    return ({ stepwise = false, watched = false }) => {
      const isLookedAtAlways = stepwise || watched
      /** Whose text a row holds. */
      const held = new Map<number, WholeText>()
      let current: Session_ | undefined

      /** Puts texts that have come into their rows, beside what the others have there. */
      const receive = (open: ReadonlyArray<Placed<WholeText>>) =>
        Effect.gen(function* () {
          if (current !== undefined && open.every(({ row, text }) => held.get(row) === text)) return current
          const response =
            current === undefined ? new Int32Array(rows * newTokens) : yield* read<Int32Array>(current, "response")
          const ids = new Int32Array(rows * length).fill(pad)
          const pads = Array<number>(rows).fill(0)
          const prompt = new Int32Array(rows * (length - newTokens))
          for (const { row, text } of open) {
            pads[row] = length - text.ids.length
            ids.set(text.ids, row * length + pads[row]!)
            prompt.set(ids.subarray(row * length, (row + 1) * length - newTokens), row * (length - newTokens))
            if (held.get(row) !== text) response.fill(mask, row * newTokens, (row + 1) * newTokens)
            held.set(row, text)
          }
          const padded = pads.some(columns => columns > 0)
          current = yield* made.find(({ kind }) => kind.padded === padded && kind.watched === watched)!.session
          yield* current.upload({ ...canvasArrays({ ids, pads }, { rows, length }), prompt, response })
          return current
        })

      return open =>
        Effect.gen(function* () {
          const session = yield* receive(open)
          const fewest = least(open.map(({ text }) => text.stepsLeft))
          const ahead = Math.min(stepsAtOnce, 1 + Math.floor(sure / sureStepsPerStep), fewest)
          const times = isLookedAtAlways ? 1 : ahead
          const counts = new Int32Array(stepsAtOnce * rows)
          const revealedAt = new Int32Array(rows * newTokens).fill(-1)
          for (const { row, text } of open) {
            const { forwards, plan } = text
            for (let j = 0; j < stepsAtOnce; j++) counts[j * rows + row] = plan.chosen[forwards + j] ?? 0
            revealedAt.set(plan.revealedAt?.map(at => at - forwards) ?? [], row * newTokens)
          }
          const stepped = Effect.gen(function* () {
            yield* session.upload({ step: Int32Array.of(0), revealedAt, counts })
            yield* session.compute(times)
            return (yield* read<Int32Array>(session, "nextStep"))[0]!
          })
          const { found: done, ms: forwardMs } = yield* clocked(stepped)
          sure += done
          if (done < times) {
            yield* settle(session, open, done)
            sure = 0
          }
          const passes = done + (done < times ? 1 : 0)
          const isLookedAt = isLookedAtAlways || passes >= fewest
          const response = isLookedAt ? yield* read<Int32Array>(session, "response") : undefined
          const probability = watched ? yield* read<Float32Array>(session, "probability") : undefined
          const take = open.map(({ row, text }) => {
            const [from, to] = [row * newTokens, (row + 1) * newTokens]
            const own = response?.slice(from, to)
            return () => text.made(passes, own, probability?.subarray(from, to))
          })
          return { passes, forwardMs, take }
        })
    }
  })
