/** What is said of texts when they are made: how many tokens, how fast, in how many passes. */
export interface Statistics {
  readonly name: string
  readonly texts: number
  readonly tokens: number
  /** Why a lone text ends. */
  readonly stopped: string
  readonly seconds: number
  readonly seed: number
  /** Where a pass may make several tokens. */
  readonly passes?: Passes
}

export interface Passes {
  /** Until all texts were there. */
  readonly forwards: number
  /** Of all texts. */
  readonly ofTexts: number
  /** Of a diffusion: the steps that were allowed, and the passes before the first of them. */
  readonly steps?: number
  readonly ahead?: number
}

/** Tokens that a forward pass makes of a text, on average: what parallel decoding is for. */
export const tokensPerPass = (tokens: number, passes: number): number => (passes === 0 ? 0 : tokens / passes)

const counted = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`

/** What steps were allowed. Where texts are made in pieces, each takes as many. */
const allowed = ({ ahead = 0, forwards, steps }: Passes): ReadonlyArray<string> => {
  if (steps === undefined) return []
  const some = counted(steps, "step", "steps")
  const of = forwards - ahead > steps ? `${some} a piece` : `at most ${some}`
  return [ahead === 0 ? of : `${ahead} of them before the first step, then ${of}`]
}

export const statisticsLine = ({ name, passes, seconds, seed, stopped, texts, tokens }: Statistics): string =>
  [
    name,
    `${tokens} tokens${texts === 1 ? ` (${stopped})` : ` in ${texts} texts`}`,
    ...(passes === undefined
      ? []
      : [
          counted(passes.forwards, "forward pass", "forward passes"),
          ...allowed(passes),
          `${tokensPerPass(tokens, passes.ofTexts).toFixed(1)} tokens a pass`
        ]),
    `${(tokens / seconds).toFixed(0)} tok/s`,
    `seed ${seed}`
  ].join(", ")
