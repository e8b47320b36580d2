/** `pipeline cache`: looks after the store. */
import { Command } from "effect/cli"
import { path } from "./cache/path.ts"
import { restore } from "./cache/restore.ts"
import { trash } from "./cache/trash.ts"
import { usage } from "./cache/usage.ts"
import { verify } from "./cache/verify.ts"

export const command = Command.make("cache").pipe(
  Command.withDescription("Look after the store: how much is in it, whether it is sound, and getting things out of it"),
  Command.withSubcommands([usage, verify, restore, trash, path]),
  Command.withExamples([
    { command: "pipeline cache usage", description: "Bytes by kind, pipeline and purpose" },
    {
      command: "pipeline cache verify",
      description: "Hash every object; what is damaged is made again by the next run"
    },
    { command: "pipeline cache restore 3f9a12c4 --to ./out", description: "Copy an artifact's files out of the store" }
  ])
)
