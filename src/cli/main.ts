/** The program's entry: finds the verb, runs it, and turns what comes of it into output and an exit code. */
import { NodeServices } from "@effect/platform-node"
import { Effect, Exit, Fiber } from "effect"
import { report } from "./failure.ts"
import { onInterrupt } from "./interruption.ts"
import { commandFor } from "./verbs.ts"
import { programVersion } from "./home.ts"
import { Command } from "effect/cli"

const program = Effect.gen(function* () {
  const words = process.argv.slice(2)
  const command = yield* commandFor(words)
  yield* Command.runWith(command, { version: programVersion(), renderErrors: false })(
    words.length === 0 ? ["--help"] : words
  )
}).pipe(Effect.provide(NodeServices.layer))

const fiber = Effect.runFork(program)

let interruptions = 0
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    interruptions++
    onInterrupt(interruptions)
    if (interruptions === 1) Effect.runFork(Fiber.interrupt(fiber))
  })
}
// Whoever reads our output may have seen enough (`pipeline runs | head`).
process.stdout.on("error", error => {
  if ((error as NodeJS.ErrnoException).code === "EPIPE") process.exit(0)
})

fiber.addObserver(exit => {
  process.exitCode = Exit.isSuccess(exit) ? (process.exitCode ?? 0) : interruptions > 0 ? 130 : report(exit.cause)
})
