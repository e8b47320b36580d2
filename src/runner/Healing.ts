/** What an action does when an input is damaged: all of its inputs are looked at, so that all that is damaged is mended in one go. */
import { Effect } from "effect"
import * as Actions from "../ledger/Actions.ts"
import type { LedgerError } from "../ledger/LedgerError.ts"
import * as Suspects from "../ledger/Suspects.ts"
import type { Digest } from "../pipeline/Digest.ts"
import type { Failure, Loss, ReadyAction, Settled } from "./Action.ts"
import type { Ports } from "./Ports.ts"

/** Marks as lost what the process found damaged, and all that is damaged or missing beside it. */
export const loseInputs = (
  ports: Ports,
  action: ReadyAction,
  failure: Failure,
  attempt: number,
  log: string
): Effect.Effect<Settled, LedgerError> =>
  Effect.gen(function* () {
    const claimed = failure.artifact as Digest
    const artifacts = new Set([claimed, ...action.components.inputs.map(({ digest }) => digest)])
    const losses: Array<Loss> = []
    for (const artifact of artifacts) {
      const found = new Set(yield* Effect.orElseSucceed(ports.ailing(artifact), () => []))
      // What the process could not read counts, also if we can: it may be the disk that changes its mind.
      if (artifact === claimed) found.add((failure.object ?? artifact) as Digest)
      if (found.size > 0) losses.push({ artifact, objects: [...found] })
    }
    for (const { artifact, objects } of losses) {
      const input = action.components.inputs.find(({ digest }) => digest === artifact)
      const producer =
        input === undefined ? "an input" : input.name === undefined ? input.port : `${input.port}.${input.name}`
      const [digest, ...more] = artifact === claimed ? [(failure.object ?? artifact) as Digest, ...objects] : objects
      const others = new Set(more.filter(other => other !== digest)).size
      yield* ports.emit({
        type: "damaged",
        digest: digest!,
        label: action.node.label,
        producer,
        ...(others === 0 ? {} : { others })
      })
    }
    const suspects = yield* ports.ledger(database => {
      Actions.markObjects(
        database,
        losses.flatMap(({ objects }) => objects),
        "lost"
      )
      Actions.markArtifacts(
        database,
        losses.map(({ artifact }) => artifact),
        "lost"
      )
      // When the store found damage, it said so to the ledger, which found out what had been computed from it.
      return Suspects.keys(database)
    })
    return { _tag: "InputLost", losses, suspects, message: failure.message, advice: failure.advice, log, attempt }
  })
