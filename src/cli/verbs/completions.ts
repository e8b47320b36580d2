/** `pipeline completions`: prints a script that teaches a shell our verbs, flags and pipelines. */
import { Effect } from "effect"
import { Argument, Completions } from "effect/cli"
import { verb } from "../verb.ts"
import { pipelines } from "../../../pipelines/index.ts"
import { stdout } from "../terminal/terminal.ts"

type Shell = "bash" | "zsh" | "fish"

const shells: ReadonlyArray<Shell> = ["bash", "zsh", "fish"]

const program = "pipeline"

export const command = verb("completions", {
  about: "Print a completion script for bash, zsh or fish",
  examples: {
    'eval "$(pipeline completions bash)"': "In ~/.bashrc",
    "pipeline completions zsh > ~/.zfunc/_pipeline": "In a folder of zsh's $fpath",
    "pipeline completions fish > ~/.config/fish/completions/pipeline.fish": "Where fish looks for it"
  },
  takes: {
    shell: Argument.Literals("shell", shells).pipe(Argument.withDescription("The shell to print a script for"))
  },
  run: Effect.fn("completions")(function* ({ shell }) {
    // Not before it is asked for: it loads every verb.
    const { commandFor } = yield* Effect.promise(() => import("../verbs.ts"))
    const root = yield* commandFor([])
    stdout().write(scriptFor(shell, Completions.fromCommand(root), Object.keys(pipelines)))
  })
})

/** The script, with the names of these pipelines wherever one is expected. */
export const scriptFor = (
  shell: Shell,
  descriptor: Completions.CommandDescriptor,
  names: ReadonlyArray<string>
): string => {
  const script = Completions.generate(program, shell, withNames(descriptor, names))
  return shell === "bash" ? forBash(script) : script
}

const withNames = (
  descriptor: Completions.CommandDescriptor,
  names: ReadonlyArray<string>
): Completions.CommandDescriptor => {
  if (names.length === 0) return descriptor
  const choice = { _tag: "Choice", values: names } as const
  return {
    ...descriptor,
    arguments: descriptor.arguments.map(each => (each.name === "pipeline" ? { ...each, type: choice } : each)),
    flags: descriptor.flags.map(each => (each.name === "pipeline" ? { ...each, type: choice } : each)),
    subcommands: descriptor.subcommands.map(each => withNames(each, names))
  }
}

/** What the script takes from the package bash-completion, for machines that do not have it. */
const initCompletion = `declare -F _init_completion >/dev/null || _init_completion()
{
  COMPREPLY=()
  words=("\${COMP_WORDS[@]}")
  cword=$COMP_CWORD
  cur="\${COMP_WORDS[COMP_CWORD]}"
  prev="\${COMP_WORDS[COMP_CWORD-1]}"
}

`

/** Files are offered where nothing of ours fits: a pipeline may be a file of the user's own. */
const forBash = (script: string): string =>
  initCompletion + script.replace(/^(\s*)complete (?:-o \S+ )*-F/gm, "$1complete -o default -F")
