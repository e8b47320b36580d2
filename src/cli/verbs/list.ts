/** `pipeline list`: the pipelines, their profiles and what those need. */
import { Effect } from "effect"
import { verb } from "../verb.ts"
import { pipelines } from "../../../pipelines/index.ts"
import { bytes } from "../../pipeline/units.ts"
import { manifestBytes } from "../../pipeline/Artifact.ts"
import * as Layer from "../../store/Layer.ts"
import { nodeDisk } from "../../store/NodeDisk.ts"
import * as flags from "../flags.ts"
import { assets as assetsDirectory } from "../home.ts"
import { load } from "../pipelines.ts"
import { styleOf, table } from "../terminal/style.ts"
import { print, printJson, stdout } from "../terminal/terminal.ts"

export const command = verb("list", {
  about: "List pipelines, their profiles and what those need",
  examples: {
    "pipeline list": "Pipelines and profiles",
    "pipeline list --assets": "Data that ships with the program"
  },
  takes: {
    assets: flags.toggle("assets", "List the artifacts that ship with the program instead"),
    json: flags.json
  },
  run: Effect.fn("list")(function* ({ assets, json }) {
    if (assets) return yield* listAssets(json)
    const found = yield* Effect.forEach(Object.keys(pipelines), load)
    if (json)
      return printJson(
        found.map(({ description, name, profiles }) => ({
          name,
          description,
          profiles: Object.entries(profiles).map(([profile, { description: about, needs }]) => ({
            name: profile,
            description: about,
            needs
          }))
        }))
      )
    const style = styleOf(stdout())
    for (const { description, name, profiles } of found) {
      print(`${style.bold(name)}  ${description}`)
      const rows = Object.entries(profiles).map(([profile, { description: about, needs }], i) => [
        `  ${profile}${i === 0 ? " (default)" : ""}`,
        about,
        style.dim(`needs ${needs}`)
      ])
      print(table(rows))
    }
  })
})

const listAssets = (json: boolean) =>
  Effect.gen(function* () {
    const { artifacts } = yield* Layer.make({ directory: assetsDirectory, disk: nodeDisk }).content
    const all = [...artifacts.values()]
    if (json) return printJson(all)
    const rows = all.map(({ description, manifest, name }) => [
      `embedded:${name}`,
      manifest.kind,
      bytes(manifestBytes(manifest)),
      description
    ])
    print(table(rows))
  })
