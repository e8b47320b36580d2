/** Programs for some numbers of rows, so that few texts cost less than many. */
import { Effect, Scope } from "effect"

/** Rows of the program that reads so many texts, of at most `all`. */
export const rowsOf = (count: number, all: number): number => [1, 4].find(rows => count <= rows && rows < all) ?? all

/** What is prepared for some texts, of at most `all`: each size when it is first needed. */
export const bySize = <A, E>(
  all: number,
  prepare: (rows: number) => Effect.Effect<A, E, Scope.Scope>
): Effect.Effect<(count: number) => Effect.Effect<A, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const made = new Map<number, A>()
    return count =>
      Effect.gen(function* () {
        const rows = rowsOf(count, all)
        const found = made.get(rows) ?? (yield* Effect.provideService(prepare(rows), Scope.Scope, scope))
        made.set(rows, found)
        return found
      })
  })
