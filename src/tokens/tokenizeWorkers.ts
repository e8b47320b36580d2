/** A pool of threads that tokenize: batches in, the bytes of their sequences out, in order. */
import { Effect, Schema, type Scope, Stream } from "effect"
import { Worker } from "node:worker_threads"
import type { DataRecord } from "../formats/records.ts"
import { type SequenceOptions } from "./sequences.ts"
import { parseTokenizer, TokenizerError, type TokenizerFiles, type TokenizerOptions } from "./tokenizer.ts"
import {
  type TokenizedRecord,
  tokenizeRecord,
  type WorkerReply,
  type WorkerRequest,
  type WorkerSetup
} from "./tokenizeRecord.ts"

export type { TokenizedRecord } from "./tokenizeRecord.ts"

/** A thread that could not start, died, or failed on a batch. */
export class TokenizeWorkerError extends Schema.TaggedError<TokenizeWorkerError>()("TokenizeWorkerError", {
  message: Schema.String
}) {}

export interface TokenizePool {
  /** How many threads work; 0 means that the calling thread does. */
  readonly workers: number
  /** Tokenizes a batch; the results stand in the order of the records. Interrupting it forgets a batch that waits. */
  readonly tokenize: (
    records: ReadonlyArray<DataRecord>
  ) => Effect.Effect<ReadonlyArray<TokenizedRecord>, TokenizeWorkerError>
}

export interface TokenizePoolOptions {
  /** Threads. 0 tokenizes in the calling thread, which is the fastest for little text: a thread takes a while to start. */
  readonly workers: number
  readonly tokenizer: TokenizerFiles
  readonly tokenizerOptions?: TokenizerOptions | undefined
  readonly sequences: SequenceOptions
  /** The thread's program. Default: the one beside this file, or beside the bundle that holds this file. */
  readonly workerUrl?: URL | undefined
}

/** The thread's program beside the module with this `import.meta.url`: the source from source, the bundle from a bundle. */
export const workerUrl = (moduleUrl: string): URL =>
  new URL(moduleUrl.endsWith(".ts") ? "./tokenizeWorker.ts" : "./tokenizeWorker.js", moduleUrl)

/** Starts the threads; they end with the scope, whatever they are doing. */
export const makeTokenizePool = Effect.fn("makeTokenizePool")(function* (
  options: TokenizePoolOptions
): Effect.fn.Return<TokenizePool, TokenizerError | TokenizeWorkerError, Scope.Scope> {
  if (options.workers === 0) return yield* inThisThread(options)
  const setup: WorkerSetup = {
    tokenizer: options.tokenizer,
    tokenizerOptions: options.tokenizerOptions ?? {},
    sequences: options.sequences
  }
  const url = options.workerUrl ?? workerUrl(import.meta.url)
  const queue: Array<Job> = []
  const threads = yield* Effect.forEach(
    Array.from({ length: options.workers }),
    () =>
      Effect.acquireRelease(
        Effect.sync(() => new Thread(url, setup, queue)),
        thread => Effect.promise(() => thread.end())
      ),
    { discard: false }
  )
  yield* Effect.forEach(threads, thread => thread.ready, { concurrency: "unbounded", discard: true })

  let lastId = 0
  const tokenize = (records: ReadonlyArray<DataRecord>) =>
    Effect.callback<ReadonlyArray<TokenizedRecord>, TokenizeWorkerError>(resume => {
      lastId += 1
      const job: Job = { request: { id: lastId, records }, resume }
      queue.push(job)
      for (const batches of [1, batchesInThread]) for (const thread of threads) thread.takeWork(batches)
      return Effect.sync(() => {
        const at = queue.indexOf(job)
        if (at !== -1) queue.splice(at, 1)
      })
    })
  return { workers: options.workers, tokenize }
})

/**
 * Tokenizes a stream of records, in order. At most `2 * workers + 1` batches of `batchSize` records are under way, so that a
 * fast reader waits for slow threads and for the consumer.
 */
export const tokenizeStream = <E, R>(
  pool: TokenizePool,
  records: Stream.Stream<DataRecord, E, R>,
  batchSize = 32
): Stream.Stream<TokenizedRecord, E | TokenizeWorkerError, R> =>
  records.pipe(
    Stream.grouped(batchSize),
    Stream.mapEffect(batch => pool.tokenize(batch), { concurrency: 2 * pool.workers + 1 }),
    Stream.flattenIterable
  )

const inThisThread = Effect.fnUntraced(function* (
  options: TokenizePoolOptions
): Effect.fn.Return<TokenizePool, TokenizerError> {
  const tokenizer = yield* Effect.fromResult(parseTokenizer(options.tokenizer, options.tokenizerOptions))
  const tokenize = (records: ReadonlyArray<DataRecord>) =>
    Effect.try({
      try: () => records.map(record => tokenizeRecord(record, tokenizer, options.sequences)),
      catch: failure
    }).pipe(Effect.tap(Effect.yieldNow))
  return { workers: 0, tokenize }
})

const failure = (cause: unknown) =>
  new TokenizeWorkerError({ message: `tokenizing failed: ${cause instanceof Error ? cause.message : String(cause)}` })

interface Job {
  readonly request: WorkerRequest
  readonly resume: (result: Effect.Effect<ReadonlyArray<TokenizedRecord>, TokenizeWorkerError>) => void
}

/** Batches that a thread holds, so that it finds the next one when it is done with the first. */
const batchesInThread = 2

/** One thread of a pool, which takes its work from the pool's queue. */
class Thread {
  /** Completes when the tokenizer is built. */
  readonly ready: Effect.Effect<void, TokenizerError | TokenizeWorkerError>
  readonly #worker: Worker
  readonly #queue: Array<Job>
  readonly #held = new Map<number, Job>()
  #dead: TokenizeWorkerError | undefined

  constructor(url: URL, setup: WorkerSetup, queue: Array<Job>) {
    this.#queue = queue
    this.#worker = new Worker(url, { workerData: setup })
    const started = Promise.withResolvers<TokenizerError | TokenizeWorkerError | undefined>()
    this.ready = Effect.flatMap(
      Effect.promise(() => started.promise),
      error => (error === undefined ? Effect.void : Effect.fail(error))
    )
    this.#worker.on("message", (reply: WorkerReply) => {
      switch (reply.type) {
        case "ready":
          return started.resolve(undefined)
        case "unusable":
          return started.resolve(new TokenizerError({ file: reply.file, message: reply.message }))
        case "done":
          return this.#finish(reply.id, Effect.succeed(reply.results))
        case "failed":
          return this.#finish(reply.id, Effect.fail(failure(reply.message)))
      }
    })
    const die = (what: string) => {
      this.#dead ??= new TokenizeWorkerError({ message: `a tokenizing thread ${what}` })
      started.resolve(this.#dead)
      for (const job of [...this.#held.values(), ...this.#queue.splice(0)]) job.resume(Effect.fail(this.#dead))
      this.#held.clear()
    }
    this.#worker.on("error", cause => die(`died: ${cause instanceof Error ? cause.message : String(cause)}`))
    this.#worker.on("exit", code => die(`ended with code ${code}`))
  }

  /** Takes batches until it holds as many as given. */
  takeWork(batches: number) {
    while (this.#held.size < batches) {
      const job = this.#queue.shift()
      if (job === undefined) return
      if (this.#dead !== undefined) {
        job.resume(Effect.fail(this.#dead))
        return
      }
      this.#held.set(job.request.id, job)
      this.#worker.postMessage(job.request, [])
    }
  }

  async end() {
    await this.#worker.terminate()
  }

  #finish(id: number, result: Effect.Effect<ReadonlyArray<TokenizedRecord>, TokenizeWorkerError>) {
    const job = this.#held.get(id)
    this.#held.delete(id)
    job?.resume(result)
    this.takeWork(batchesInThread)
  }
}
