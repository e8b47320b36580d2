/**
 * Serves jobs by open batches. Jobs that can be written by the same programs share a lane: each joins its texts when a row is free, and leaves when it is done or nobody waits for it. Lanes run beside each
 * other, pass by pass, so that a long text holds no other one up.
 */
import { Cause, Effect, Exit, Fiber, Latch, Scope } from "effect"
import type { OpenBatch, OpenText } from "../decoding/openBatch.ts"
import type { EngineError } from "../engines/Engine.ts"
import type { StageError } from "../pipeline/StageError.ts"
import { type Decoder, type Decoding, failedBy, type Job } from "./job.ts"

/** What writes the jobs of a lane. */
export interface JobWriter<T extends OpenText> {
  readonly batch: OpenBatch<T, EngineError>
  /** The text of a job; throws where it cannot be written. */
  readonly begin: (job: Job, decoding: Decoding) => T
  /** Tells a job what is new of its text after a step; true where it has all, so that the text leaves. */
  readonly tell: (job: Job, text: T) => boolean
}

export interface Lanes<T extends OpenText> {
  /** Jobs of one kind share a lane. */
  readonly kindOf: (decoding: Decoding, job: Job) => string
  /** Prepares what writes jobs of the kind of this one. */
  readonly open: (decoding: Decoding, job: Job) => Effect.Effect<JobWriter<T>, EngineError | StageError, Scope.Scope>
  /** Lanes that are kept at once; jobs of other kinds wait until one of them has nothing to do. */
  readonly most: number
}

interface Waiting {
  readonly job: Job
  readonly decoding: Decoding
}

interface Lane {
  readonly end: Effect.Effect<void>
  readonly work: Latch.Latch
  waiting: Array<Waiting>
  idle: boolean
}

/** Starts decoding; closing the scope ends it. */
export const makeLanes = <T extends OpenText>({
  kindOf,
  most,
  open
}: Lanes<T>): Effect.Effect<Decoder, never, Scope.Scope> =>
  Effect.gen(function* () {
    const own = yield* Effect.scope
    /** Those used last are last. */
    const lanes = new Map<string, Lane>()
    let waiting: Array<Waiting> = []
    const changed = yield* Latch.make()

    const run = (lane: Omit<Lane, "end">, first: Waiting) =>
      Effect.gen(function* () {
        const { batch, begin, tell } = yield* open(first.decoding, first.job)
        const jobs = new Map<T, Job>()
        const leave = (text: T): void => {
          batch.drop(text)
          jobs.delete(text)
        }
        const admit = ({ decoding, job }: Waiting): void => {
          try {
            const text = begin(job, decoding)
            batch.admit(text)
            jobs.set(text, job)
          } catch (cause) {
            job.tell({ type: "failed", error: failedBy(cause) })
          }
        }
        const round = Effect.gen(function* () {
          // Before it is looked at what there is to do: what comes later opens it again.
          lane.work.closeUnsafe()
          lane.waiting = lane.waiting.filter(({ job }) => !job.gone())
          for (const [text, job] of jobs) if (job.gone()) leave(text)
          while (batch.free > 0 && lane.waiting.length > 0) admit(lane.waiting.shift()!)
          if (jobs.size === 0) {
            if (lane.waiting.length > 0) return
            lane.idle = true
            changed.openUnsafe()
            return yield* lane.work.await
          }
          for (const { failure, text } of yield* batch.step()) {
            const job = jobs.get(text)!
            if (failure !== undefined) job.tell({ type: "failed", error: failedBy(failure.cause) })
            if (failure !== undefined || tell(job, text)) leave(text)
          }
        })
        const guarded = Effect.catchCause(round, cause =>
          Cause.hasInterrupts(cause)
            ? Effect.failCause(cause)
            : Effect.sync(() => {
                const error = failedBy(Cause.squash(cause))
                for (const [text, job] of jobs) {
                  leave(text)
                  job.tell({ type: "failed", error })
                }
              })
        )
        yield* Effect.forever(guarded)
      })

    const begin = (kind: string, first: Waiting) =>
      Effect.gen(function* () {
        const scope = yield* Scope.fork(own)
        const lane = { work: yield* Latch.make(), waiting: [first], idle: false }
        const close = Scope.close(scope, Exit.void)
        const fiber = yield* Effect.catchCause(Scope.provide(scope)(run(lane, first)), cause =>
          Cause.hasInterrupts(cause)
            ? Effect.failCause(cause)
            : Effect.suspend(() => {
                lanes.delete(kind)
                const error = failedBy(Cause.squash(cause))
                for (const { job } of lane.waiting) job.tell({ type: "failed", error })
                changed.openUnsafe()
                return close
              })
        ).pipe(Effect.forkIn(own))
        lanes.set(kind, Object.assign(lane, { end: Effect.andThen(Fiber.interrupt(fiber), close) }))
      })

    /** Gives a job to the lane of its kind, which may take the place of one that has nothing to do; false where it must wait. */
    const placed = (each: Waiting): Effect.Effect<boolean> =>
      Effect.gen(function* () {
        const kind = kindOf(each.decoding, each.job)
        const lane = lanes.get(kind)
        if (lane !== undefined) {
          lanes.delete(kind)
          lanes.set(kind, lane)
          lane.idle = false
          lane.waiting.push(each)
          lane.work.openUnsafe()
          return true
        }
        if (lanes.size >= most) {
          const idle = [...lanes].find(([, other]) => other.idle)
          if (idle === undefined) return false
          lanes.delete(idle[0])
          yield* idle[1].end
        }
        yield* begin(kind, each)
        return true
      })

    const assign = Effect.gen(function* () {
      // Before it is looked at what waits: what comes later opens it again.
      changed.closeUnsafe()
      const left: Array<Waiting> = []
      for (const each of waiting.splice(0)) {
        if (each.job.gone()) continue
        const done = yield* Effect.catchDefect(placed(each), cause =>
          Effect.sync(() => {
            each.job.tell({ type: "failed", error: failedBy(cause) })
            return true
          })
        )
        if (!done) left.push(each)
      }
      waiting = [...left, ...waiting]
      yield* changed.await
    })
    yield* Effect.forkScoped(Effect.forever(assign))
    return {
      submit: (decoding, jobs) => {
        for (const job of jobs) waiting.push({ job, decoding })
        changed.openUnsafe()
      },
      look: () => {
        for (const { work } of lanes.values()) work.openUnsafe()
        changed.openUnsafe()
      }
    } satisfies Decoder as Decoder
  })
