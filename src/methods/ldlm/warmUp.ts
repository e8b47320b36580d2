/** The warm-up of joint training of latents and diffusion (LDLM): how much of the diffusion loss reaches the encoder. */

/** Steepness and centre of the sigmoid, in shares of the warm-up. */
const steepness = 10
const centre = 0.8

/** From `least` at step 0 along a sigmoid to 1 at step `steps`, and 1 from there on. */
export const warmUpGamma = (step: number, steps: number, least: number): number => {
  if (step >= steps) return 1
  const sigmoid = (s: number): number => 1 / (1 + Math.exp(-steepness * (s / steps - centre)))
  return least + ((1 - least) * (sigmoid(step) - sigmoid(0))) / (sigmoid(steps) - sigmoid(0))
}
