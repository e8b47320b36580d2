/** The thread that loads a stage by the code of now and evaluates its identity; see FreshIdentity.ts. */
import { parentPort, workerData } from "node:worker_threads"
import { Effect, Schema } from "effect"
import type { IdentityContext } from "../pipeline/Stage.ts"
import { permanent, type StageError } from "../pipeline/StageError.ts"
import { ownRoot } from "./Fingerprint.ts"
import { type Begin, call, effectOf, type FromThread, type Outcome, outcomeOf, type ToThread } from "./FreshIdentity.ts"
import { makeLoad } from "./Loading.ts"
import { resolveOurselves } from "./ourselves.ts"

const { parameters, stage, whose } = workerData as Begin
const say = (message: FromThread) => parentPort!.postMessage(message, [])

interface Asked {
  readonly answer: (outcome: Outcome) => void
  readonly compute: Effect.Effect<string, StageError> | undefined
}

const pending: Array<Asked> = []

/** Asks the thread that started this one. */
const ask = <A>(
  method: keyof IdentityContext,
  asked: string,
  compute?: Asked["compute"]
): Effect.Effect<A, StageError> =>
  Effect.callback<A, StageError>(resume => {
    const id = pending.push({ answer: outcome => resume(effectOf(outcome)), compute }) - 1
    say({ type: "asks", id, method, asked })
  })

const context: IdentityContext = {
  fileDigest: path => ask("fileDigest", path),
  embedded: name => ask("embedded", name),
  remember: (name, compute) => ask("remember", name, compute)
}

parentPort!.on("message", (message: ToThread) => {
  const { answer, compute } = pending[message.id]!
  if (message.type === "answer") answer(message.outcome)
  else Effect.runFork(Effect.map(outcomeOf(compute!), outcome => say({ type: "computed", id: message.id, outcome })))
})

resolveOurselves()
const load = makeLoad(ownRoot)

const evaluated = Effect.gen(function* () {
  const loaded = yield* Effect.tryPromise({
    try: () => load(stage),
    catch: cause => load.refused?.() ?? cause
  })
  const { identity } = loaded
  if (identity === undefined)
    return yield* permanent(
      `${whose} is gone from its code since the pipeline was loaded`,
      "run again: then the pipeline is loaded with the code of now"
    )
  const decoded = yield* Effect.mapError(Schema.decodeUnknownEffect(loaded.parameters)(parameters), error =>
    permanent(`the parameters of ${stage.name} do not fit its code of now: ${error.message}`, "run again")
  )
  const value = yield* call(identity, decoded, context, whose)
  const refused = load.refused?.()
  if (refused !== undefined) return yield* refused
  return value
})

const ended = await Effect.runPromise(outcomeOf(evaluated))
try {
  say({ type: "ended", outcome: ended })
} catch (cause) {
  // What cannot be sent cannot enter a key either.
  say({ type: "ended", outcome: { defect: String(cause) } })
}
