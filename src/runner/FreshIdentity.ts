/**
 * The identity of a stage by the code of now, where this process has loaded an older one: evaluated in a thread that loads the stage as its action's process will.
 * What the identity asks of the world, this process answers.
 */
import { Worker } from "node:worker_threads"
import { Cause, Effect, Exit } from "effect"
import type { Json } from "../pipeline/Digest.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import * as Problem from "../pipeline/Problem.ts"
import type { AnyStage, IdentityContext } from "../pipeline/Stage.ts"
import { type ErrorClass, permanent, StageError } from "../pipeline/StageError.ts"
import { flagsForThreads } from "./code/Resolve.ts"
import type { Request } from "./Request.ts"

/** What the thread begins with. */
export interface Begin {
  readonly stage: Request["stage"]
  readonly parameters: unknown
  /** Whose identity it is, for messages. */
  readonly whose: string
}

export type Outcome =
  | { readonly value: unknown }
  | { readonly error: { readonly class: ErrorClass; readonly message: string; readonly advice?: string } }
  | { readonly defect: string }

interface Asks {
  readonly type: "asks"
  readonly id: number
  readonly method: keyof IdentityContext
  readonly asked: string
}

export type FromThread =
  | Asks
  /** What was to be computed, as nothing was remembered. */
  | { readonly type: "computed"; readonly id: number; readonly outcome: Outcome }
  | { readonly type: "ended"; readonly outcome: Outcome }

export type ToThread =
  | { readonly type: "compute"; readonly id: number }
  | { readonly type: "answer"; readonly id: number; readonly outcome: Outcome }

const entry = new URL(import.meta.url.endsWith(".ts") ? "./identityThread.ts" : "./identityThread.js", import.meta.url)

/** What this program uses of Node is its own business. */
const quiet = "--disable-warning=ExperimentalWarning"

/** The identity of a node's stage as the module at `location` has it. */
export const of =
  ({ label, parametersText, stage: { name } }: PlanNode, location: Omit<Request["stage"], "name">) =>
  (_: unknown, context: IdentityContext): Effect.Effect<Json, StageError> => {
    const begin: Begin = {
      stage: { ...location, name },
      parameters: JSON.parse(parametersText),
      whose: whoseIdentity(label, name)
    }
    return Effect.acquireUseRelease(
      Effect.sync(
        () => new Worker(entry, { workerData: begin, stdout: true, execArgv: [...flagsForThreads(), quiet] })
      ),
      thread => conversation(thread, context),
      thread => Effect.promise(() => thread.terminate())
    )
  }

const conversation = (thread: Worker, context: IdentityContext): Effect.Effect<Json, StageError> =>
  Effect.callback(resume => {
    const say = (message: ToThread) => thread.postMessage(message, [])
    const computing = new Map<number, (found: Effect.Effect<string, StageError>) => void>()
    const answer = ({ asked, id, method }: Asks): Effect.Effect<unknown, StageError> => {
      if (method !== "remember") return context[method](asked)
      const compute = Effect.callback<string, StageError>(found => {
        computing.set(id, found)
        say({ type: "compute", id })
      })
      return context.remember(asked, compute)
    }
    // Stdout is the program's.
    thread.stdout.pipe(process.stderr, { end: false })
    thread.on("message", (message: FromThread) => {
      switch (message.type) {
        case "asks": {
          const { id } = message
          const answered = outcomeOf(Effect.suspend(() => answer(message)))
          Effect.runFork(Effect.map(answered, outcome => say({ type: "answer", id, outcome })))
          break
        }
        case "computed":
          computing.get(message.id)?.(effectOf<string>(message.outcome))
          break
        case "ended":
          resume(effectOf<Json>(message.outcome))
      }
    })
    thread.once("error", cause => resume(Effect.die(cause)))
    thread.once("exit", () => resume(Effect.die(new Error("it ended its thread"))))
  })

/** How an effect ended, as it can be sent. */
export const outcomeOf = (effect: Effect.Effect<unknown, unknown>): Effect.Effect<Outcome> =>
  Effect.map(
    Effect.exit(effect),
    Exit.match({
      onSuccess: (value): Outcome => ({ value }),
      onFailure: (cause): Outcome => {
        const error = Cause.squash(cause)
        if (!(error instanceof StageError)) return { defect: Problem.messageOf(error) }
        const { advice, message } = error
        return { error: { class: error.class, message, ...(advice === undefined ? {} : { advice }) } }
      }
    })
  )

/** What was sent, as what the other side has to send there. */
export const effectOf = <A>(outcome: Outcome): Effect.Effect<A, StageError> =>
  "value" in outcome
    ? Effect.succeed(outcome.value as A)
    : "error" in outcome
      ? Effect.fail(new StageError(outcome.error))
      : Effect.die(new Error(outcome.defect))

export const whoseIdentity = (label: string, stage: string): string => `${label}: the identity of stage ${stage}`

/** Calls an identity function, which may return anything. */
export const call = (
  identity: NonNullable<AnyStage["identity"]>,
  parameters: unknown,
  context: IdentityContext,
  whose: string
): Effect.Effect<unknown, unknown> =>
  Effect.suspend(() => {
    const returned: unknown = identity(parameters, context)
    return Effect.isEffect(returned)
      ? (returned as Effect.Effect<unknown, unknown>)
      : Effect.fail(
          permanent(
            `${whose} returned ${returned instanceof Promise ? "a promise" : Problem.describe(returned)} instead of an Effect`,
            "write Effect.succeed(value), or Effect.promise(() => promise)"
          )
        )
  })
