/** Diagonal Gaussians as tensors: reparameterised draws and their divergence from the standard normal distribution. */
import { clip, square } from "../../../tensor/composites.ts"
import { add, exp, maximum, mul, sub } from "../../../tensor/ops.ts"
import type { Tensor } from "../../../tensor/Tensor.ts"

export interface Gaussian {
  readonly mean: Tensor
  /** Logarithm of the standard deviation. */
  readonly logSigma: Tensor
}

/** Deviations from exp(-10) to 10. */
const least = -10
const largest = Math.log(10)

export const bounded = (logSigma: Tensor): Tensor => clip(logSigma, least, largest)

/** mean + sigma noise: the draw as a differentiable function of the parameters (Kingma & Welling 2014). */
export const reparameterised = ({ logSigma, mean }: Gaussian, noise: Tensor): Tensor =>
  add(mean, mul(exp(logSigma), noise))

/** KL(N(mean, sigma^2) || N(0, 1)) of each element, nats: (mean^2 + sigma^2 - 1) / 2 - log sigma. */
export const klPerElement = ({ logSigma, mean }: Gaussian): Tensor =>
  sub(mul(sub(add(square(mean), exp(mul(logSigma, 2))), 1), 0.5), logSigma)

/** Elements with less than `free` nats count as if they had as much, so that nothing is gained by emptying them (free bits: Kingma et al. 2016). */
export const withFreeBits = (kl: Tensor, free: number): Tensor => (free === 0 ? kl : maximum(kl, free))
