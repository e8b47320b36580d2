/** What of a user's own code is being waited for, by name: should it never settle, there is something to say. */
import { Effect } from "effect"

const waiting = new Set<{ readonly name: string }>()

/** Names the work as long as it is under way. */
export const as =
  (name: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      const entry = { name }
      waiting.add(entry)
      return Effect.ensuring(
        effect,
        Effect.sync(() => void waiting.delete(entry))
      )
    })

/** What is waited for now, the longest first. */
export const names = (): ReadonlyArray<string> => [...waiting].map(({ name }) => name)
