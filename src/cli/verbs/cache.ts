/** `pipeline cache`: looks after the store. */
import { Command } from "effect/cli"
import { path } from "./cache/path.ts"
import { restore } from "./cache/restore.ts"
import { trash } from "./cache/trash.ts"
import { usage } from "./cache/usage.ts"
import { verify } from "./cache/verify.ts"
import { explained } from "../verb.ts"

export const command = Command.make("cache").pipe(
  Command.withSubcommands([usage, verify, restore, trash, path]),
  explained({
    about: "Look after the store: how much is in it, whether it is sound, and getting things out of it",
    examples: {
      "pipeline cache usage": "Bytes by kind, pipeline and purpose",
      "pipeline cache verify": "Hash every object; what is damaged is made again by the next run",
      "pipeline cache restore 3f9a12c4 --to ./out": "Copy an artifact's files out of the store"
    }
  })
)
