/**
 * Serves a model that decodes from masks: requests with the same settings are decoded together, as many texts as there are rows. Batches of different settings take turns, pass by pass, so that a long one
 * holds no short one up; one whose clients are all served or gone ends at its next step.
 */
import { Cause, Deferred, Effect, Exit, Latch, Scope } from "effect"
import type { MaskDecoding } from "../decoding/blockSettings.ts"
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
/** Batches that take turns. */
const lanes = 2

type Settings = MaskDecoding & { readonly steps: number }

interface Request {
  readonly settings: Settings
  readonly jobs: ReadonlyArray<Job>
  /** Requests with the same one may be decoded together; undefined: with none. */
  readonly group: string | undefined
  /** Requests of one kind may compute with the same programs. */
  readonly kind: string
}

const kindOf = (settings: Settings, newTokens: number): string => JSON.stringify([{ ...settings, steps: 0 }, newTokens])

export interface DiffusionServing {
  readonly engine: Engine
  readonly method: MethodDecoding
  readonly model: LoadedModel
  /** Texts that are decoded together, at most; a request of more has them all in a batch of its own. */
  readonly rows: number
}

/** How many tokens from the first on are there to stay: those before the first mask, up to the end of text. */
export const settled = (tokens: Int32Array, mask: number, ends: ReadonlySet<number>): number => {
  const stop = tokens.findIndex(token => token === mask || ends.has(token))
  return stop < 0 ? tokens.length : stop
}

/** Starts decoding; closing the scope ends it. */
export const makeDiffusionDecoder = ({
  engine,
  method,
  model,
  rows
}: DiffusionServing): Effect.Effect<Decoder, never, Scope.Scope> =>
  Effect.gen(function* () {
    const own = yield* Effect.scope
    let waiting: Array<Request> = []
    const running = new Set<{
      readonly kind: string
      readonly jobs: ReadonlyArray<Job>
      readonly gone: Deferred.Deferred<void>
    }>()
    const work = yield* Latch.make()
    const { ends, maskId } = model.tokenizer

    const generators = new Map<
      string,
      { readonly kind: string; readonly generator: Generator<EngineError>; readonly scope: Scope.Closeable }
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
        if (known !== undefined) {
          generators.set(key, known)
          return known.generator
        }
        const idle = [...generators].find(([, { kind }]) => ![...running].some(batch => batch.kind === kind))
        if (generators.size >= keptGenerators && idle !== undefined) {
          generators.delete(idle[0])
          yield* Scope.close(idle[1].scope, Exit.void)
        }
        const scope = yield* Scope.fork(own)
        const generator = yield* Effect.onError(
          Scope.provide(scope)(method.generator(engine, model, shape, decoding)),
          () => Scope.close(scope, Exit.void)
        )
        generators.set(key, { generator, scope, kind: kindOf(settings, newTokens) })
        return generator
      })

    /** The next requests that go together, without those that nobody waits for. */
    const nextBatch = (): ReadonlyArray<Request> => {
      waiting = waiting.filter(({ jobs }) => !jobs.every(job => job.gone()))
      // What a batch computes with is its own while it runs.
      const free = waiting.filter(({ kind }) => ![...running].some(batch => batch.kind === kind))
      const [first] = free
      if (first === undefined) return []
      let count = 0
      const batch: Array<Request> = []
      for (const request of free) {
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
        const done = jobs.map(() => false)
        const tell = (i: number, tokens: Int32Array, forwards: number): void => {
          if (done[i]!) return
          const stay = settled(tokens, maskId, ends)
          const more = [...tokens.subarray(told[i], stay)]
          if (more.length > 0) jobs[i]!.tell({ type: "tokens", tokens: more, scores: [], forwards })
          told[i] = stay
          done[i] = stay === newTokens || tokens[stay] !== maskId
          if (done[i]) jobs[i]!.tell({ type: "done", ended: stay < newTokens, forwards })
        }
        const made = yield* generator.generate({
          prompts,
          steps: settings.steps,
          seed: jobs[0]!.seed ?? Math.floor(Math.random() * 2 ** 32),
          // Of a text that nobody waits for, because it is told or its client went away, no more is needed.
          ending: (i, tokens) => (jobs[i]!.gone() ? tokens.length : undefined),
          // Tokens that `p2` reveals may be masked again.
          ...(settings.alg === "p2"
            ? {}
            : {
                onStep: (i, step, text) => Effect.sync(() => tell(i, text.subarray(prompts[i]!.length), step))
              })
        })
        for (const [i, ids] of made.sequences.entries()) tell(i, ids.subarray(prompts[i]!.length), made.forwards[i]!)
      })

    const round = Effect.gen(function* () {
      const batch = nextBatch()
      if (batch.length === 0) return yield* Effect.andThen(Latch.close(work), work.await)
      const jobs = batch.flatMap(request => request.jobs)
      const gone = yield* Deferred.make<void>()
      const one = { jobs, gone, kind: batch[0]!.kind }
      running.add(one)
      yield* Effect.raceFirst(decode(batch), Deferred.await(gone)).pipe(
        Effect.catchCause(cause => {
          if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
          const error = failedBy(Cause.squash(cause))
          for (const job of jobs) job.tell({ type: "failed", error })
          return Effect.void
        }),
        Effect.ensuring(Effect.sync(() => void running.delete(one)))
      )
    })
    for (let lane = 0; lane < lanes; lane++) yield* Effect.forkScoped(Effect.forever(round))

    /** Whether what is drawn at random decides nothing. */
    const isGreedy = ({ alg, algTemp, temperature }: Settings): boolean =>
      model.latent === undefined && temperature === 0 && algTemp === 0 && alg !== "origin"

    return {
      submit: (decoding, jobs) => {
        if (decoding.mode !== "diffusion") throw new TypeError("decodes from masks alone")
        const { settings } = decoding
        const { newTokens, seed } = jobs[0]!
        const group = seed === undefined || isGreedy(settings) ? JSON.stringify([settings, newTokens]) : undefined
        waiting.push({ settings, jobs, group, kind: kindOf(settings, newTokens) })
        work.openUnsafe()
      },
      look: () => {
        for (const { gone, jobs } of running) if (jobs.every(job => job.gone())) Deferred.doneUnsafe(gone, Effect.void)
        work.openUnsafe()
      }
    } satisfies Decoder as Decoder
  })
