/** A thread that runs the entries of programs of modules, each in a folder of its own, and says what came of each. */
import { parentPort, workerData } from "node:worker_threads"

const answers = []
for (const entry of workerData) {
  globalThis.log = []
  try {
    const { say } = await import(entry)
    answers.push({ output: JSON.stringify([await say(), globalThis.log]) })
  } catch (cause) {
    answers.push({ failed: String(cause) })
  }
}
parentPort.postMessage(answers, [])
