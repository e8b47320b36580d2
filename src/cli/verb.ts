/** How a verb is declared: what it is for, what it takes, and what it does. */
import type { Effect } from "effect"
import { Command } from "effect/cli"

interface About {
  /** A line of the page of help. */
  readonly about: string
  /** Command lines, each with what it is for. */
  readonly examples?: { readonly [command: string]: string }
}

/** What the page of help says. */
export const explained = ({ about, examples = {} }: About) => {
  const described = Object.entries(examples).map(([command, description]) => ({ command, description }))
  return <Name extends string, Input, Context, E, R>(command: Command.Command<Name, Input, Context, E, R>) =>
    command.pipe(Command.withDescription(about), Command.withExamples(described))
}

interface Verb<Takes extends Command.Command.Config, R, E> extends About {
  /** Flags and arguments. */
  readonly takes: Takes
  readonly run: (args: Command.Command.Config.Infer<Takes>) => Effect.Effect<void, E, R>
}

export const verb = <Name extends string, const Takes extends Command.Command.Config, R, E>(
  name: Name,
  { run, takes, ...about }: Verb<Takes, R, E>
) => Command.make(name, takes, run).pipe(explained(about))
