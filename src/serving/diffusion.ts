/**
 * Serves a model that decodes from masks: requests with the same settings are decoded together, as many texts as there are rows. A batch begins when the one before it is done; one whose clients are
 * all gone ends at its next step.
 */
import { Cause, Deferred, Effect, Exit, Latch, Scope } from "effect"
import type { MaskDecoding } from "../decoding/blocks.ts"
import type { Engine, EngineError } from "../engines/Engine.ts"
import type { Decoding as MethodDecoding } from "../methods/Method.ts"
import type { LoadedModel } from "../models/artifact.ts"
import { greatest } from "../pipeline/lists.ts"
import type { Generator } from "../sessions/generator.ts"
import { type Decoder, failedBy, type Job } from "./job.ts"

/** Prompts are brought to a multiple of so many tokens, by padding that nothing sees, so that few programs serve all. */
const promptStep = 32
/** Programs that are kept, those of the last settings. */
const keptGenerators = 4

type Settings = MaskDecoding & { readonly steps: number }

interface Request {
  readonly settings: Settings
  readonly jobs: ReadonlyArray<Job>
  /** Requests with the same one may be decoded together; undefined: with none. */
  readonly group: string | undefined
}

export interface DiffusionServing {
  readonly engine: Engine
  readonly method: MethodDecoding
  readonly model: LoadedModel
  /** Texts that are decoded together, at most; a request of more has them all in a batch of its own. */
  readonly rows: number
  /** End a text. */
  readonly ends: ReadonlySet<number>
}

/** How many tokens from the first on are there to stay: those before the first mask, up to the end of text. */
export const settled = (tokens: Int32Array, mask: number, ends: ReadonlySet<number>): number => {
  const stop = tokens.findIndex(token => token === mask || ends.has(token))
  return stop < 0 ? tokens.length : stop
}

/** Starts decoding; closing the scope ends it. */
export const makeDiffusionDecoder = ({
  ends,
  engine,
  method,
  model,
  rows
}: DiffusionServing): Effect.Effect<Decoder, never, Scope.Scope> =>
  Effect.gen(function* () {
    const own = yield* Effect.scope
    let waiting: Array<Request> = []
    let running: { readonly jobs: ReadonlyArray<Job>; readonly gone: Deferred.Deferred<void> } | undefined
    const work = yield* Latch.make()
    const { maskId } = model.tokenizer

    const generators = new Map<
      string,
      { readonly generator: Generator<EngineError>; readonly scope: Scope.Closeable }
    >()
    const generatorFor = (settings: Settings, prompts: number, promptTokens: number, newTokens: number) =>
      Effect.gen(function* () {
        const { steps: _, ...decoding } = settings
        let size = 1
        while (size < Math.min(prompts, rows)) size *= 2
        const shape = {
          prompts: Math.min(size, rows),
          promptTokens: Math.ceil(promptTokens / promptStep) * promptStep,
          newTokens
        }
        const key = JSON.stringify([decoding, shape])
        const known = generators.get(key)
        generators.delete(key)
        if (known === undefined && generators.size >= keptGenerators) {
          const [oldest, { scope }] = generators.entries().next().value!
          generators.delete(oldest)
          yield* Scope.close(scope, Exit.void)
        }
        const scope = known?.scope ?? (yield* Scope.fork(own))
        const generator =
          known?.generator ?? (yield* Scope.provide(scope)(method.generator(engine, model, shape, decoding)))
        generators.set(key, { generator, scope })
        return generator
      })

    /** The next requests that go together, without those that nobody waits for. */
    const nextBatch = (): ReadonlyArray<Request> => {
      waiting = waiting.filter(({ jobs }) => !jobs.every(job => job.gone()))
      const [first] = waiting
      if (first === undefined) return []
      let count = 0
      const batch: Array<Request> = []
      for (const request of waiting) {
        const fits = batch.length === 0 || (request.group === first.group && first.group !== undefined)
        if (!fits || (batch.length > 0 && count + request.jobs.length > rows)) continue
        batch.push(request)
        count += request.jobs.length
      }
      waiting = waiting.filter(request => !batch.includes(request))
      return batch
    }

    const decode = (batch: ReadonlyArray<Request>) =>
      Effect.gen(function* () {
        const { settings } = batch[0]!
        const jobs = batch.flatMap(request => request.jobs)
        const prompts = jobs.map(({ prompt }) => prompt)
        const { newTokens } = jobs[0]!
        const generator = yield* generatorFor(settings, jobs.length, greatest(prompts.map(p => p.length)), newTokens)
        /** Tokens that each client knows. */
        const told = jobs.map(() => 0)
        const tell = (i: number, tokens: Int32Array, forwards: number): void => {
          const stay = settled(tokens, maskId, ends)
          if (stay <= told[i]!) return
          jobs[i]!.tell({ type: "tokens", tokens: [...tokens.subarray(told[i], stay)], scores: [], forwards })
          told[i] = stay
        }
        const made = yield* generator.generate({
          prompts,
          steps: settings.steps,
          seed: jobs[0]!.seed ?? Math.floor(Math.random() * 2 ** 32),
          // Tokens that `p2` reveals may be masked again.
          ...(settings.alg === "p2"
            ? {}
            : {
                onStep: (i, step, text) => Effect.sync(() => tell(i, text.subarray(prompts[i]!.length), step))
              })
        })
        for (const [i, job] of jobs.entries()) {
          const tokens = made.sequences[i]!.subarray(prompts[i]!.length)
          tell(i, tokens, made.forwards[i]!)
          job.tell({ type: "done", ended: settled(tokens, maskId, ends) < newTokens, forwards: made.forwards[i]! })
        }
      })

    const round = Effect.gen(function* () {
      const batch = nextBatch()
      if (batch.length === 0) return yield* Effect.andThen(Latch.close(work), work.await)
      const jobs = batch.flatMap(request => request.jobs)
      const gone = yield* Deferred.make<void>()
      running = { jobs, gone }
      yield* Effect.catchCause(Effect.raceFirst(decode(batch), Deferred.await(gone)), cause => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
        const error = failedBy(Cause.squash(cause))
        for (const job of jobs) job.tell({ type: "failed", error })
        return Effect.void
      })
      running = undefined
    })
    yield* Effect.forkScoped(Effect.forever(round))

    /** Whether what is drawn at random decides nothing. */
    const isGreedy = ({ alg, algTemp, temperature }: Settings): boolean =>
      model.latent === undefined && temperature === 0 && algTemp === 0 && alg !== "origin"

    return {
      submit: (decoding, jobs) => {
        if (decoding.mode !== "diffusion") throw new TypeError("decodes from masks alone")
        const { settings } = decoding
        const { newTokens, seed } = jobs[0]!
        const group = seed === undefined || isGreedy(settings) ? JSON.stringify([settings, newTokens]) : undefined
        waiting.push({ settings, jobs, group })
        work.openUnsafe()
      },
      look: () => {
        if (running?.jobs.every(job => job.gone()) === true) Deferred.doneUnsafe(running.gone, Exit.void)
        work.openUnsafe()
      }
    } satisfies Decoder as Decoder
  })
