/** The thread of a tokenizing pool: builds the tokenizer once, then turns batches of records into bytes. */
import { Result } from "effect"
import { parentPort, workerData } from "node:worker_threads"
import { parseTokenizer, type Tokenizer } from "./tokenizer.ts"
import { tokenizeRecord, type WorkerReply, type WorkerRequest, type WorkerSetup } from "./tokenizeRecord.ts"

const reply = (message: WorkerReply, transfer: ReadonlyArray<ArrayBuffer> = []) =>
  parentPort?.postMessage(message, transfer)

const serve = (tokenizer: Tokenizer, setup: WorkerSetup) => {
  parentPort?.on("message", ({ id, records }: WorkerRequest) => {
    try {
      const results = records.map(record => tokenizeRecord(record, tokenizer, setup.sequences))
      reply(
        { type: "done", id, results },
        results.map(({ bytes }) => bytes.buffer)
      )
    } catch (cause) {
      reply({ type: "failed", id, message: cause instanceof Error ? cause.message : String(cause) })
    }
  })
  reply({ type: "ready" })
}

const setup = workerData as WorkerSetup
const tokenizer = parseTokenizer(setup.tokenizer, setup.tokenizerOptions)
if (Result.isSuccess(tokenizer)) serve(tokenizer.success, setup)
else reply({ type: "unusable", file: tokenizer.failure.file, message: tokenizer.failure.message })
