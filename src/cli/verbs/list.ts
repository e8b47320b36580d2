/** `pipeline list`: the pipelines, their profiles and what those need. */
import { Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { pipelines } from "../../../pipelines/index.ts"
import { bytes } from "../../pipeline/units.ts"
import { manifestBytes } from "../../pipeline/Artifact.ts"
import * as Layer from "../../store/Layer.ts"
import { nodeDisk } from "../../store/NodeDisk.ts"
import * as flags from "../flags.ts"
import { assets as assetsDirectory } from "../home.ts"
import { load } from "../pipelines.ts"
import { styleOf, table } from "../terminal/style.ts"
import { stdout } from "../terminal/terminal.ts"

export const command = Command.make(
  "list",
  {
    assets: Flag.Boolean("assets").pipe(
      Flag.withDescription("List the artifacts that ship with the program instead"),
      Flag.withDefault(false)
    ),
    json: flags.json
  },
  Effect.fn("list")(function* ({ assets, json }) {
    if (assets) return yield* listAssets(json)
    const found = yield* Effect.forEach(Object.keys(pipelines), load)
    if (json) {
      const described = found.map(({ description, name, profiles }) => ({
        name,
        description,
        profiles: Object.entries(profiles).map(([profile, { description: about, needs }]) => ({
          name: profile,
          description: about,
          needs
        }))
      }))
      stdout().write(`${JSON.stringify(described, null, 2)}\n`)
      return
    }
    const style = styleOf(stdout())
    for (const { description, name, profiles } of found) {
      stdout().write(`${style.bold(name)}  ${description}\n`)
      const rows = Object.entries(profiles).map(([profile, { description: about, needs }], i) => [
        `  ${profile}${i === 0 ? " (default)" : ""}`,
        about,
        style.dim(`needs ${needs}`)
      ])
      stdout().write(`${table(rows)}\n`)
    }
  })
).pipe(
  Command.withDescription("List pipelines, their profiles and what those need"),
  Command.withExamples([
    { command: "pipeline list", description: "Pipelines and profiles" },
    { command: "pipeline list --assets", description: "Data that ships with the program" }
  ])
)

const listAssets = (json: boolean) =>
  Effect.gen(function* () {
    const { artifacts } = yield* Layer.make({ directory: assetsDirectory, disk: nodeDisk }).content
    const all = [...artifacts.values()]
    if (json) return void stdout().write(`${JSON.stringify(all, null, 2)}\n`)
    stdout().write(
      `${table(all.map(({ description, manifest, name }) => [`embedded:${name}`, manifest.kind, bytes(manifestBytes(manifest)), description]))}\n`
    )
  })
