/** Which latents of an example are noised and learnt, by the variant of Cola. */
import { type RandomKey, uniformAt } from "../../tensor/random.ts"

export interface LatentNoising {
  /** 1 for each latent that is noised, in one view or, complementary, in two; the others stay clean. */
  readonly views: ReadonlyArray<Uint8Array<ArrayBuffer>>
}

/** All latents. */
export const allNoised = (latents: number): LatentNoising => ({ views: [new Uint8Array(latents).fill(1)] })

const tailOf = (latents: number, size: number): LatentNoising => ({
  views: [Uint8Array.from({ length: latents }, (_, i) => (i >= latents - size ? 1 : 0))]
})

/** A tail whose share of all latents is drawn on its own, from one latent to all: every beginning is learnt to be gone on from. */
export const drawnTail = (latents: number, key: RandomKey): LatentNoising =>
  tailOf(latents, Math.max(1, Math.ceil(uniformAt(key, 0) * latents)))

/** The seed's tail of the locals: floor(max(1, floor(n t)) lambda), at least one. Short at little noise, and never all. */
export const coupledTail = (globals: number, locals: number, time: number, lambda: number): LatentNoising =>
  tailOf(globals + locals, Math.max(1, Math.floor(Math.max(1, Math.floor(locals * time)) * lambda)))

/** Each latent with a probability that is drawn first, and in a second view exactly the others. */
export const complementary = (latents: number, key: RandomKey): LatentNoising => {
  const share = uniformAt(key, 0)
  const first = Uint8Array.from({ length: latents }, (_, i) => (uniformAt(key, 1 + i) < share ? 1 : 0))
  return { views: [first, first.map(bit => 1 - bit)] }
}
