/**
 * The anchor cache as the field keeps it on disk: for each sequence `{key[:2]}/{key}.safetensors` with the tensors `hidden_layer_L` [T, d] (bf16) and
 * `input_ids` [T] (i64), and `manifest.json`.
 */
import { encodeHeader } from "../../../formats/safetensors.ts"

export const anchorManifestFile = "manifest.json"

/** Where the anchors of a sequence lie, by its key. */
export const anchorPath = (key: string): string => `${key.slice(0, 2)}/${key}.safetensors`

const layerName = (layer: number): string => `hidden_layer_${layer}`
const idsName = "input_ids"

/** The content of a sequence's file. `states`: for each layer bf16 [T, d], little-endian. */
export const anchorFile = (
  ids: Int32Array,
  states: ReadonlyMap<number, Uint8Array>,
  hiddenSize: number
): ReadonlyArray<Uint8Array> => {
  const header = encodeHeader([
    ...Array.from(states.keys(), layer => ({
      name: layerName(layer),
      dtype: "BF16" as const,
      shape: [ids.length, hiddenSize]
    })),
    { name: idsName, dtype: "I64" as const, shape: [ids.length] }
  ])
  const content = new Map<string, Uint8Array>([
    [idsName, new Uint8Array(BigInt64Array.from(ids, BigInt).buffer)],
    ...Array.from(states, ([layer, bytes]) => [layerName(layer), bytes] as const)
  ])
  return [header.bytes, ...header.tensors.map(({ name }) => content.get(name)!)]
}

export const anchorManifest = (
  {
    hiddenSize,
    layers,
    numHiddenLayers
  }: { readonly hiddenSize: number; readonly layers: ReadonlyArray<number>; readonly numHiddenLayers: number },
  artifact: string
): string =>
  `${JSON.stringify(
    {
      format_version: 1,
      num_hidden_layers: numHiddenLayers,
      hidden_size: hiddenSize,
      layers,
      dtype: "bfloat16",
      // The digest by which this program knows the set, and from it the teacher and the sequences.
      artifact
    },
    null,
    2
  )}\n`
