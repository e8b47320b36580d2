/** At which operating points answers are compared over several tasks: tokens a step, as a power of two, and thresholds. Tasks have answers of different lengths, so numbers of steps say nothing between them. */
import type { OperatingPoint } from "../evaluation/results.ts"
import type { GridRow } from "./rows.ts"

export interface Share {
  readonly of: { readonly tokensPerStep: number } | { readonly threshold: number }
  /** The tasks that were answered there, and at which point of each. */
  readonly points: ReadonlyMap<string, OperatingPoint>
}

/** Doublings of tokens a step, from 0 on: all the room for an answer over its steps. */
const doublings = (answerTokens: number, steps: number): number => Math.max(0, Math.log2(answerTokens / steps))

/** What any row was asked at, few tokens a step first, and high thresholds. A task's point for some tokens a step is the nearest that it has, less than half a doubling away. */
export const sharesOf = (rows: ReadonlyArray<GridRow>): ReadonlyArray<Share> => {
  const results = rows.flatMap(({ runs }) => runs.flatMap(({ tasks }) => tasks.map(({ content }) => content)))
  const bySteps = new Map<number, Map<string, { readonly point: OperatingPoint; readonly off: number }>>()
  const byThreshold = new Map<number, Map<string, OperatingPoint>>()
  for (const { answers, answerTokens, task } of results)
    for (const { point } of answers)
      if ("threshold" in point) {
        const points = byThreshold.get(point.threshold) ?? new Map<string, OperatingPoint>()
        byThreshold.set(point.threshold, points.set(task, point))
      } else {
        const exact = doublings(answerTokens, point.steps)
        const whole = Math.round(exact)
        const points = bySteps.get(whole) ?? new Map<string, { point: OperatingPoint; off: number }>()
        const off = Math.abs(exact - whole)
        if (off < (points.get(task)?.off ?? Infinity)) points.set(task, { point, off })
        bySteps.set(whole, points)
      }
  return [
    ...[...bySteps]
      .sort(([a], [b]) => a - b)
      .map(([whole, points]) => ({
        of: { tokensPerStep: 2 ** whole },
        points: new Map([...points].map(([task, { point }]) => [task, point]))
      })),
    ...[...byThreshold].sort(([a], [b]) => b - a).map(([threshold, points]) => ({ of: { threshold }, points }))
  ]
}

/** Points as they are told apart. */
export const keyOf = (point: unknown): string => JSON.stringify(point)

/** What a task has at a share's point. */
export const shareOf = <A extends { readonly point: OperatingPoint }>(
  { points }: Share,
  task: string,
  all: ReadonlyArray<A>
): A | undefined => {
  const wanted = points.get(task)
  return wanted === undefined ? undefined : all.find(({ point }) => keyOf(point) === keyOf(wanted))
}
