/** pass@k: the chance that one of k samples is right, estimated without bias from more of them (Chen et al. 2021, arXiv:2107.03374). */

/** Of n samples, c are right: 1 - C(n - c, k) / C(n, k), as a product. At most n samples can be drawn. */
export const passAtK = ({ c, k, n }: { readonly n: number; readonly c: number; readonly k: number }): number => {
  if (k > n) throw new RangeError(`pass@${k} needs ${k} samples, there are ${n}`)
  if (n - c < k) return 1
  let none = 1
  for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i
  return 1 - none
}
