/** The program's entry: finds the verb, runs it, and turns what comes of it into output and an exit code. */
import { NodeServices } from "@effect/platform-node"
import { Effect, Exit } from "effect"
import { CliConfig, CliOutput, Command, GlobalFlag } from "effect/cli"
import { exitCodes, report } from "./failure.ts"
import { honourNohup, wasInterrupted } from "./interruption.ts"
import { followLauncher } from "./launcher.ts"
import { asItIs, protectOutput } from "./terminal.ts"
import { commandFor } from "./verbs.ts"
import { programVersion } from "./home.ts"

/** Wrong usage is answered with what was wrong, not with a page of help; `report` prints it. */
const presenter: CliOutput.Presenter = {
  present: event =>
    event._tag === "InvalidInvocation" ? Effect.void : asItIs(CliOutput.defaultPresenter.present(event))
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

protectOutput()
honourNohup()
followLauncher()
Effect.runFork(program).addObserver(exit => {
  process.exitCode = Exit.isSuccess(exit)
    ? (process.exitCode ?? exitCodes.done)
    : wasInterrupted()
      ? exitCodes.interrupted
      : report(exit.cause)
})
