/** Perceiver resamplers: so many learned vectors read a sequence of any length and become its summary (Jaegle et al. 2021; Alayrac et al. 2022). */
import { broadcastTo, gather, reshape, sliceAxis } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"
import { scoreMask } from "../../../models/layers/attention.ts"
import type { ParameterSpec } from "../../../models/parameters.ts"
import { alignedPlaces, partsOfLatents } from "./alignedStart.ts"
import { layer, layerSpecs, linear, linearSpecs, placeTable, table, under, type Weights, within } from "./layers.ts"

export interface PerceiverShape {
  /** Inner width. */
  readonly width: number
  /** Of what it reads; a projection is there only where it differs. */
  readonly contextWidth: number
  /** How many vectors come out. */
  readonly latents: number
  readonly depth: number
  readonly heads: number
  /** Longest context whose places, and those of the vectors, are learned; undefined: attention goes by what it reads alone. */
  readonly positions?: number | undefined
}

/** How it begins: all drawn; or the places of its vectors as those that they are to find: they are latents of a text, or positions of a text and read latents. */
export type PerceiverStart = "random" | { readonly vectorsAre: "latents" | "positions" }

const layerShape = (width: number) =>
  ({ width, selfAttention: true, crossAttention: true, projectionBias: false }) as const

/** Throws RangeError for a start by positions where there are none. */
export const perceiverSpecs = (
  shape: PerceiverShape,
  start: PerceiverStart = "random"
): ReadonlyArray<ParameterSpec> => {
  const { contextWidth, depth, heads, latents, positions, width } = shape
  const places = () => {
    if (start === "random") return undefined
    if (positions === undefined) throw new RangeError("an aligned start needs learned positions")
    const counts = start.vectorsAre === "latents" ? { latents, positions } : { latents: positions, positions: latents }
    return { ...counts, queries: start.vectorsAre, heads, width }
  }
  const aligned = places()
  const crossStart = aligned === undefined ? undefined : partsOfLatents(aligned)
  return [
    table("latents", latents, width),
    ...(positions === undefined
      ? []
      : [
          aligned === undefined
            ? placeTable("places", latents, width)
            : alignedPlaces("places", { ...aligned, of: "positions" }),
          placeTable("positions", positions, width)
        ]),
    ...(contextWidth === width ? [] : linearSpecs("context", { from: contextWidth, to: width })),
    ...Array.from({ length: depth }, (_, i) =>
      under(`layers.${i}`, layerSpecs({ ...layerShape(width), ...(crossStart === undefined ? {} : { crossStart }) }))
    ).flat()
  ]
}

export interface ContextOptions {
  /** bool [B, K]: which of the context there is; by default all. */
  readonly seen?: Tensor
  /** i32 [B, K]: positions, where the context does not begin at 0. */
  readonly at?: Tensor
}

/** context [B, K, contextWidth] -> [B, latents, width]. */
export const perceiver = (
  w: Weights,
  { contextWidth, depth, heads, latents, positions, width }: PerceiverShape,
  context: Tensor,
  { at, seen }: ContextOptions = {}
): Tensor => {
  const [batch, length] = context.shape as [number, number, number]
  const projected = contextWidth === width ? context : linear(w, "context", context)
  const vectors = (): Tensor =>
    at === undefined ? reshape(sliceAxis(w("positions"), 0, 0, length), [1, length, width]) : gather(w("positions"), at)
  const places =
    positions === undefined ? undefined : { queries: reshape(w("places"), [1, latents, width]), keys: vectors() }
  let x = broadcastTo(reshape(w("latents"), [1, latents, width]), [batch, latents, width])
  const contextMask = seen === undefined ? undefined : scoreMask(reshape(seen, [batch, 1, length]))
  for (let i = 0; i < depth; i++)
    x = layer(within(w, `layers.${i}`), x, { heads, shape: layerShape(width), context: projected, contextMask, places })
  return x
}
