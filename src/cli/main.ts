/** The program's entry: finds the verb, runs it, and turns what comes of it into output and an exit code. */
import { NodeServices } from "@effect/platform-node"
import { Effect, Exit, Fiber } from "effect"
import { CliConfig, CliOutput, Command, GlobalFlag } from "effect/cli"
import { report } from "./failure.ts"
import { onInterrupt } from "./interruption.ts"
import { commandFor } from "./verbs.ts"
import { programVersion } from "./home.ts"

/** Wrong usage is answered with what was wrong, not with a page of help; `report` prints it. */
const presenter: CliOutput.Presenter = {
  present: event => (event._tag === "InvalidInvocation" ? Effect.void : CliOutput.defaultPresenter.present(event))
}

const program = Effect.gen(function* () {
  const words = process.argv.slice(2)
  const command = yield* commandFor(words)
  yield* Command.runWith(command, { version: programVersion() })(words.length === 0 ? ["--help"] : words)
}).pipe(
  Effect.provideService(CliOutput.Presenter, presenter),
  Effect.provideService(CliConfig.CliConfig, CliConfig.make({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })),
  Effect.provide(NodeServices.layer)
)

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
