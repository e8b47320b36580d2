/** Weights that are brought in little by little. */

/** From 0 at step 0 along a line to 1 at step `steps`, and 1 from there on. */
export const ramp = (step: number, steps: number): number => (step >= steps ? 1 : step / steps)
