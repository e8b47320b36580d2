/** One line about a result, from its metadata: `50 documents, 61.2 kB`. */
import type { Manifest } from "../pipeline/Artifact.ts"
import { manifestBytes } from "../pipeline/Artifact.ts"
import { bytes, count } from "../pipeline/units.ts"

/** Counts that an artifact's metadata holds, in the order in which the stage wrote them, then its size. */
export const describeManifest = (manifest: Manifest): string => {
  const { metadata } = manifest
  const counts =
    typeof metadata === "object" && metadata !== null && !Array.isArray(metadata)
      ? Object.entries(metadata)
          .filter(
            (entry): entry is [string, number] =>
              Number.isInteger(entry[1]) && entry[0] !== "bytes" && (entry[1] as number) > 0
          )
          .slice(0, 3)
          .map(([name, value]) => `${count(value)} ${words(name)}`)
      : []
  const size = manifestBytes(manifest)
  return [...counts, ...(size > 0 ? [bytes(size)] : [])].join(", ")
}

export const describeOutputs = (manifests: ReadonlyArray<Manifest>): string =>
  manifests.map(describeManifest).join("; ")

/** `maxSeqLen` -> `max seq len`. */
const words = (name: string) => name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase()
