/**
 * A pass over texts with masks: tokens are proposed for them, by logits that come to the host, or where the model computes, and each text reveals what it will. Likeliest tokens are chosen where the model
 * computes. Where the order of two, or of one and a limit, is closer than f32 can tell, the host looks at the logits of these places (decision 043): what is revealed is what it would be by all logits.
 */
import { Effect } from "effect"
import type { RandomKey } from "../tensor/random.ts"
import type { Measured } from "./accepting.ts"
import type { ModelJudge } from "./blockJudge.ts"
import { type Advance, clocked, type WrittenText } from "./openBatch.ts"
import { surelyAmong } from "./surely.ts"
import type { Proposal, TextPass, TextReader } from "./textPass.ts"

/** A text that is revealed from masks. */
export interface MaskText extends WrittenText {
  readonly key: RandomKey
  /** What is there, with the masks that are left. */
  readonly ids: Int32Array
  /** Where the method makes something of a text before its first step. */
  passesBeside: number
  /** What the next pass over the text reads. */
  readonly next: () => Omit<TextPass, "row" | "text">
  /** A token for a place of the last pass by its logits [V], which it changes. */
  readonly judge: (place: number, logits: Float32Array) => Measured
  /** Takes in what was found for the places of a pass. */
  readonly reveal: (found: ReadonlyArray<Measured>) => void
  /** Where the model can choose what is proposed: how, and how many of which places the step must reveal. */
  readonly choosing?:
    | {
        readonly by: ModelJudge
        readonly demands: () => ReadonlyArray<{ readonly start: number; readonly end: number; readonly quota: number }>
      }
    | undefined
}

interface Asked {
  readonly text: MaskText
  readonly pass: TextPass
}

/** What of some texts was found, and how long the model took, ms: functions that take it in, in their order. */
interface Found {
  readonly take: ReadonlyArray<() => void>
  readonly ms: number
}

const onHost = <E>(reader: TextReader<E>, asked: ReadonlyArray<Asked>): Effect.Effect<Found, E> =>
  Effect.map(clocked(reader.read(asked.map(({ pass }) => pass))), ({ found, ms }) => {
    const { vocabSize } = reader
    let from = 0
    const take = asked.map(({ pass: { places }, text }) => {
      const logits = found.subarray(from, (from += places.length * vocabSize))
      return () =>
        text.reveal(places.map((place, i) => text.judge(place, logits.subarray(i * vocabSize, (i + 1) * vocabSize))))
    })
    return { take, ms }
  })

/** Which of a text's places the host must look at. */
const doubtful = ({ pass: { places }, text }: Asked, found: ReadonlyArray<Proposal>): ReadonlySet<number> => {
  const { by, demands } = text.choosing!
  const bounded = places.map((place, i) => ({ ...found[i]!, place }))
  const contested = demands().flatMap(({ end, quota, start }) =>
    quota === 0
      ? []
      : surelyAmong(
          bounded.filter(({ place }) => start <= place && place < end),
          quota
        ).contested
  )
  return new Set([...bounded.filter(by.isDoubtful), ...contested].map(({ place }) => place))
}

const byModel = <E>(
  { propose }: Required<Pick<TextReader<E>, "propose">>,
  alg: ModelJudge["alg"],
  asked: ReadonlyArray<Asked>
): Effect.Effect<Found, E> =>
  Effect.gen(function* () {
    const passes = asked.map(({ pass }) => pass)
    const watched = asked.some(({ text }) => text.choosing!.by.watched)
    const { found: proposals, ms: forwardMs } = yield* clocked(propose(passes, alg, watched))
    const { found, logitsOf } = proposals
    const take: Array<() => void> = []
    let ms = forwardMs
    let first = 0
    for (const each of asked) {
      const { places } = each.pass
      const own = found.slice(first, first + places.length)
      const inDoubt = doubtful(each, own)
      const { by } = each.text.choosing!
      const measured: Array<() => Measured> = []
      for (const [i, place] of places.entries()) {
        if (!inDoubt.has(place)) {
          measured.push(() => by.measured(place, own[i]!))
          continue
        }
        const looked = yield* clocked(logitsOf(first + i))
        ms += looked.ms
        measured.push(settled(() => by.exactly(place, looked.found)))
      }
      take.push(() => each.text.reveal(measured.map(value => value())))
      first += places.length
    }
    return { take, ms }
  })

/** What something is now, or throws, whenever it is asked for. */
const settled = <A>(compute: () => A): (() => A) => {
  try {
    const value = compute()
    return () => value
  } catch (cause) {
    return () => {
      throw cause
    }
  }
}

/** A step of texts with masks: a pass for those whose tokens the host chooses, and one for those of each measure by which the model does. */
export const maskStep =
  <E>(reader: TextReader<E>): Advance<MaskText, E> =>
  open =>
    Effect.gen(function* () {
      const { propose } = reader
      const asked = open.map(({ row, text }): Asked => ({
        text,
        pass: { ...text.next(), row, text: { key: text.key, pass: text.forwards } }
      }))
      const groups = Map.groupBy(asked, ({ text }) => (propose === undefined ? undefined : text.choosing?.by.alg))
      const taken = new Map<Asked, () => void>()
      let forwardMs = 0
      for (const [alg, group] of groups) {
        const found = yield* alg === undefined ? onHost(reader, group) : byModel({ propose: propose! }, alg, group)
        forwardMs += found.ms
        for (const [i, each] of group.entries()) taken.set(each, found.take[i]!)
      }
      return { passes: groups.size, forwardMs, take: asked.map(each => taken.get(each)!) }
    })
