/** What is said of texts when they are made: how many tokens, how fast, in how many passes. */
export interface Statistics {
  readonly name: string
  readonly texts: number
  readonly tokens: number
  /** Why a lone text ends. */
  readonly stopped: string
  readonly seconds: number
  readonly seed: number
  /** Where a pass may make several tokens: passes until all texts were there, passes of all texts, and of a diffusion the steps that were allowed. */
  readonly passes?: { readonly forwards: number; readonly ofTexts: number; readonly steps?: number }
}

/** Tokens that a forward pass makes of a text, on average: what parallel decoding is for. */
export const tokensPerPass = (tokens: number, passes: number): number => (passes === 0 ? 0 : tokens / passes)

const counted = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`

export const statisticsLine = ({ name, passes, seconds, seed, stopped, texts, tokens }: Statistics): string =>
  [
    name,
    `${tokens} tokens${texts === 1 ? ` (${stopped})` : ` in ${texts} texts`}`,
    ...(passes === undefined
      ? []
      : [
          counted(passes.forwards, "forward pass", "forward passes"),
          `${tokensPerPass(tokens, passes.ofTexts).toFixed(1)} tokens a pass`,
          ...(passes.steps === undefined ? [] : [`at most ${counted(passes.steps, "step", "steps")}`])
        ]),
    `${(tokens / seconds).toFixed(0)} tok/s`,
    `seed ${seed}`
  ].join(", ")
