/** Noise schedules of latent diffusion: how much of the signal is left at a time from 0 (clean) to 1 (noise). */

export const noiseSchedules = ["power", "tangent"] as const
export type NoiseSchedule = (typeof noiseSchedules)[number]

/**
 * Share of the signal's variance. `power`: 1 - t^d. `tangent`: 1 / (1 + d^2 tan^2(pi t / 2)) (TEncDM; Shabalin et al. 2024). 1 at t = 0 and 0 at t = 1.
 */
export const alphaBar = (schedule: NoiseSchedule, d: number, t: number): number => {
  if (t <= 0) return 1
  if (t >= 1) return 0
  return schedule === "power" ? 1 - t ** d : 1 / (1 + (d * Math.tan((Math.PI * t) / 2)) ** 2)
}
