/** One line about a result, from its metadata: `50 documents, 131 sequences, 27,630 tokens, 83.5 kB`. */
import type { Kind } from "../pipeline/Artifact.ts"
import type { Json } from "../pipeline/Digest.ts"
import { bytes, count } from "../pipeline/units.ts"
import { ownField } from "../pipeline/ownField.ts"

/** The counts that the kind names, then the size. */
export const describe = (kind: Kind.Any, metadata: Json, size: number): string => {
  const fields =
    typeof metadata === "object" && metadata !== null && !Array.isArray(metadata)
      ? (metadata as Readonly<Record<string, Json>>)
      : {}
  const counts = kind.summary.flatMap(name => {
    const value = ownField(fields, name)
    return typeof value === "number" && value > 0 && name !== "bytes" ? [`${count(value)} ${words(name)}`] : []
  })
  return [...counts, ...(size > 0 ? [bytes(size)] : [])].join(", ")
}

/** `vocabSize` -> `vocab size`. */
const words = (name: string) => name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").toLowerCase()
