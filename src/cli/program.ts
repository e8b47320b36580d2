/** The program behind its entry: runs a verb, and turns what comes of it into output and an exit code. */
import { NodeServices } from "@effect/platform-node"
import { Cause, Effect, Exit } from "effect"
import { CliConfig, CliOutput, Command, GlobalFlag } from "effect/cli"
import { looseError, runToEnd } from "./ending.ts"
import { exitCodes, report } from "./failure.ts"
import { programVersion } from "./home.ts"
import { honourNohup, wasInterrupted } from "./interruption.ts"
import { followLauncher } from "./launcher.ts"
import { explained } from "./verb.ts"
import { asItIs, protectOutput } from "./terminal/terminal.ts"

export type AnyCommand = Command.Command<string, unknown, unknown, unknown, never>

/** Verbs by their names, loaded when they are asked for: the program starts fast. */
export interface Verbs {
  readonly [verb: string]: () => Promise<AnyCommand>
}

export const load = (module: Promise<{ readonly command: unknown }>): Promise<AnyCommand> =>
  module.then(({ command }) => command as AnyCommand)

/** Wrong usage is answered with what was wrong, not with a page of help; `report` prints it. */
const presenter: CliOutput.Presenter = {
  present: event =>
    event._tag === "InvalidInvocation" ? Effect.void : asItIs(CliOutput.defaultPresenter.present(event))
}

/** Answers the words of a command line; help needs all verbs, anything else the one that it names. */
export const answer = (root: AnyCommand, words: ReadonlyArray<string>) =>
  Command.runWith(root, { version: programVersion() })(words.length === 0 ? ["--help"] : words).pipe(
    Effect.provideService(CliConfig.CliConfig, CliConfig.make({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] })),
    Effect.provide(NodeServices.layer)
  )

/** The root command with these verbs. */
export const rootOf = (verbs: ReadonlyArray<AnyCommand>): AnyCommand =>
  root.pipe(Command.withSubcommands(verbs as [AnyCommand, ...Array<AnyCommand>])) as unknown as AnyCommand

const root = Command.make("pipeline").pipe(
  explained({
    about: "Turns autoregressive language models into diffusion language models, reproducibly.",
    examples: {
      "pipeline run compare-50x": "Run the comparison grid on this machine, with no network",
      "pipeline plan compare-50x": "What would run, and why; changes nothing",
      "pipeline why compare-50x/tokenize": "Which part of a key changed"
    }
  })
)

/** Starts the program on its command line. */
export const start = (commandFor: (words: ReadonlyArray<string>) => Effect.Effect<AnyCommand>): void => {
  protectOutput()
  honourNohup()
  followLauncher()
  const words = process.argv.slice(2)
  runToEnd(
    Effect.flatMap(commandFor(words), command => answer(command, words)).pipe(
      Effect.provideService(CliOutput.Presenter, presenter)
    ),
    exit => {
      const loose = looseError()
      if (loose !== undefined) return report(Cause.die(loose))
      if (Exit.isSuccess(exit)) return exitCodes.done
      return wasInterrupted() ? exitCodes.interrupted : report(exit.cause)
    }
  )
}
