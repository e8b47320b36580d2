/** What a layer is made of: a mixer, through which tokens see each other, and a feed-forward network, which works on each token alone. */
import type { DType } from "../../tensor/dtype.ts"
import type { Shape, Tensor } from "../../tensor/Tensor.ts"
import type { Part } from "../parameters.ts"
import type { AttentionContext, AttentionMask, Rotation } from "./attention.ts"

/** A tensor that a layer keeps from one pass to the next. */
export interface CacheSpec {
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
}

/** Rows that are computed together, and tokens of each that a cache has room for. */
export interface CacheShape {
  readonly rows: number
  readonly capacity: number
}

/** A layer's cache in one pass, which reads some tokens of texts whose other tokens earlier passes read. */
export interface LayerCache {
  /** What earlier passes left for those that begin where this one does; zeros where a text begins. */
  readonly read: (name: string) => Tensor
  /** For a cache with a place for each token, [rows, capacity, …]: puts there what this pass's tokens leave, [rows, length, …], and gives all of it. */
  readonly append: (name: string, fresh: Tensor) => Tensor
  /** For what sums up all tokens so far. Left out: nothing is kept of it. */
  readonly keeps?: StateKeeping
}

export interface StateKeeping {
  /** i32 [rows]: what is kept goes on past so many of the pass's tokens. Where it is below 0, what is written does not matter. */
  readonly count: Tensor
  /** Whether nothing is asked of later tokens. */
  readonly last: boolean
  /** What later passes will read, once. */
  readonly write: (name: string, value: Tensor) => void
}

/** What a layer knows of the pass that it is in. */
export interface LayerContext extends AttentionContext {
  readonly mask: AttentionMask | undefined
  /** Angles by which attention tells places apart; the same tensors for all layers of one size. */
  readonly rotation: (headDim: number, theta: number) => Rotation
  /**
   * There where layers that go from left to right also go from right to left and take the mean of both: the documents of that way, where there are any. They may be parts of
   * documents, beyond whose end a token does not see.
   */
  readonly bothWays?: { readonly segmentIds: Tensor | undefined } | undefined
  /** Told of the router logits [tokens, experts] of a layer that has experts (moe.ts), while it is traced. */
  readonly onRouterLogits?: (logits: Tensor) => void
  /** Left out: the pass begins with the first token, and nothing comes after its last. */
  readonly cache?: LayerCache
}

/** x [B, L, d] -> [B, L, d], in some pass. What the pass alone decides is computed when it is given, and never again in a backward pass. */
export type Layer = (context: LayerContext) => (x: Tensor) => Tensor

interface Idle {
  /** Of its weights so many are not multiplied with a token, because others are chosen for it. Left out: none. */
  readonly idle?: number
}

/** A layer, or its mixer. */
export interface Mixer extends Part<Layer>, Idle {
  /** What it keeps of the tokens that it has read, so that the next need not read them again. */
  readonly cache: (shape: CacheShape) => ReadonlyArray<CacheSpec>
  /**
   * Operations, forward and backward, by which the tokens of a document of this length see each other. Products with weights are left out, but for those of a second way.
   * `bothWays`: where a layer goes from left to right, it also goes from right to left.
   */
  readonly flops: (length: number, bothWays: boolean) => number
}

/** x [..., d] -> [..., d]. */
export type FeedForward = (x: Tensor, onRouterLogits?: LayerContext["onRouterLogits"]) => Tensor

export interface FeedForwardPart extends Part<FeedForward>, Idle {}
