/** Draws the panels of a training's log: a directory of SVG files. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect } from "effect"
import type { Manifest } from "../../../pipeline/Artifact.ts"
import { ConfigError } from "../../../pipeline/ConfigError.ts"
import { type Digest, short } from "../../../pipeline/Digest.ts"
import type { Store } from "../../../store/Store.ts"
import { metricsFile, readLines } from "../../../training/log.ts"
import { decodePanels, panelsFile } from "../../../training/panelFile.ts"

export const logKind = "training-log"

/** Writes `step_N_NAME.svg` for every picture of every look. */
export const exportPanels = Effect.fn("exportPanels")(function* (
  store: Store,
  digest: Digest,
  { files, kind }: Manifest,
  directory: string
) {
  const file = (name: string) => files.find(({ path }) => path === name)
  if (kind !== logKind || file(panelsFile) === undefined)
    return yield* new ConfigError({
      at: short(digest),
      message: kind === logKind ? "the training made no panels" : `is no log of a training, but ${kind}`,
      advice: "train.panel_every_steps asks for panels"
    })
  const lines = (name: string) =>
    Effect.map(store.read(file(name)!.sha256), bytes => readLines(Buffer.from(bytes).toString("utf8")))
  const looks = yield* Effect.mapError(
    decodePanels(yield* lines(panelsFile)),
    ({ message }) => new ConfigError({ at: `${panelsFile} of ${short(digest)}`, message })
  )
  // The library of the charts is loaded when there is something to draw.
  const { drawnPanels } = yield* Effect.promise(() => import("../../../report/drawnPanels.ts"))
  mkdirSync(directory, { recursive: true })
  for (const { name, step, svg } of drawnPanels(looks, yield* lines(metricsFile)))
    writeFileSync(join(directory, `step_${step}_${name}.svg`), svg)
})
