/** The teacher's pre-training text, made again from its pins: the same bytes on every machine, or an error that says which text differs. */
import { Schema } from "effect"
import { openPackage, textPackages, type UnpackedPackage } from "./packages.ts"
import { factbook, mobyDick, sha256, sotu } from "./sources.ts"

const Sha256 = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))

/** What `pins.json` says, as far as it is needed to make the texts again. */
export const Pins = Schema.fromJsonString(
  Schema.Struct({
    version: Schema.Literal(1),
    documents: Schema.Array(Schema.Struct({ id: Schema.String, package: Schema.String, textSha256: Sha256 }))
  })
)
export type Pins = typeof Pins.Type

export interface PretrainText {
  readonly id: string
  readonly text: string
}

/** One JSON text a line. */
export const jsonLines = (values: Iterable<unknown>): string =>
  Array.from(values, value => `${JSON.stringify(value)}\n`).join("")

/**
 * All texts that the pins name, in their order. `from` is a directory with the packages' tarballs; without it the npm client fetches
 * them. Rejects where a package cannot be had or a text is not the pinned one.
 */
export const pretrainTexts = async (
  pins: Pins,
  { from, onPackage }: { readonly from?: string; readonly onPackage?: (name: string) => void } = {}
): Promise<ReadonlyArray<PretrainText>> => {
  const open = (pinned: Parameters<typeof openPackage>[0]): Promise<UnpackedPackage> => {
    onPackage?.(pinned.name)
    return openPackage(pinned, from)
  }
  const documents = new Map(
    [
      ...sotu(await open(textPackages.sotu)),
      ...factbook(await open(textPackages.factbook)),
      ...mobyDick(await open(textPackages["moby-dick"]))
    ].map(document => [document.id, document.text])
  )
  return pins.documents.map(({ id, package: name, textSha256 }) => {
    const text = documents.get(id)
    if (text === undefined) throw new Error(`${name} has no text ${id}, which the pins name`)
    const digest = sha256(text)
    if (digest !== textSha256) throw new Error(`the text ${id} has the SHA-256 ${digest}, pinned is ${textSha256}`)
    return { id, text }
  })
}
