/** The process of an action: waits for its one job, runs it, says how it ended; ends with its parent. */
import { Socket } from "node:net"
import { Effect, Fiber } from "effect"
import { descriptor, open } from "../executors/channel.ts"
import type { FromWorker, ToWorker } from "../executors/Executor.ts"
import { execute } from "../runner/Child.ts"
import { makeLoad } from "../runner/Loading.ts"
import { compiled, root } from "./home.ts"
import { resolveOurselves } from "../runner/ourselves.ts"

let word = ""
const say = (message: FromWorker) => line.send({ ...message, word })

/** Making a stream costs a millisecond or two, and most actions print nothing. */
const listenWhenUsed = (name: "stdout" | "stderr"): void => {
  const made = Object.getOwnPropertyDescriptor(process, name)!
  let stream: NodeJS.WriteStream | undefined
  const get = () => (stream ??= made.get!.call(process).on("error", () => undefined))
  Object.defineProperty(process, name, { ...made, get })
}

let current: Fiber.Fiber<unknown> | undefined

// For us, not for the programs that a stage starts.
if (process.env["NODE_COMPILE_CACHE"] === compiled) delete process.env["NODE_COMPILE_CACHE"]
// A full disk below the log, or a log that cannot be written any more, must not end the work.
for (const name of ["stdout", "stderr"] as const) listenWhenUsed(name)
resolveOurselves()
const begin = (message: ToWorker) => {
  word = message.word
  say({ type: "begun" })
  const fiber = Effect.runFork(
    execute(message.directory, makeLoad(root), progress => say({ type: "progress", progress }))
  )
  current = fiber
  fiber.addObserver(exit => {
    if (exit._tag === "Success") say({ type: "ended", ended: exit.value })
  })
}

const line = open(new Socket({ fd: descriptor }), {
  message: message => {
    if (current === undefined) begin(message as ToWorker)
  },
  // The runner has heard how the action ended, or is gone, and nobody would publish the result.
  lost: () => process.exit(0)
})
// Ctrl-C is the runner's to pass on.
process.on("SIGINT", () => undefined)
process.on("SIGTERM", () => {
  if (current === undefined) process.exit(143)
  Effect.runFork(
    Effect.ensuring(
      Fiber.interrupt(current),
      Effect.sync(() => process.exit(143))
    )
  )
})
