/** Identities: what the parameters of nodes stand for (a file's content for its path, a commit for a branch). */
import { statSync, type BigIntStats } from "node:fs"
import { Cause, Effect } from "effect"
import type { Database } from "../ledger/Database.ts"
import * as Remembered from "../ledger/Remembered.ts"
import { canonical, type Digest } from "../pipeline/Digest.ts"
import type { PlanNode } from "../pipeline/Plan.ts"
import * as Problem from "../pipeline/Problem.ts"
import type { AnyStage, IdentityContext } from "../pipeline/Stage.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import * as Layer from "../store/Layer.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import type { Store } from "../store/Store.ts"
import * as awaited from "./awaited.ts"
import type { Memory } from "./Codes.ts"
import * as FreshIdentity from "./FreshIdentity.ts"

/** What a node's parameters stand for. */
export interface Identity {
  /** Canonical JSON; it enters the key. */
  readonly text: string
  /** The files that it was made from, with their stat: a file that has the same was not written to. */
  readonly files: ReadonlyArray<readonly [path: string, stat: string]>
}

export interface IdentityOptions {
  readonly database: Database | undefined
  readonly writable: boolean
  readonly store: Store
  readonly memory: Memory
  /** The function of the code that the node's key names. */
  readonly identityOf: (node: PlanNode) => NonNullable<AnyStage["identity"]>
  /** Ask again what moving names stand for. */
  readonly refresh: boolean
  /** Told of a node that names something elsewhere (a branch), when it could not be found out what that stands for. */
  readonly onUnknownName?: (node: PlanNode) => void
  /** Milliseconds after which an identity is given up that nothing has brought on. */
  readonly patienceMs?: number
}

/** Longer than a slow network takes to answer. */
const defaultPatienceMs = 5 * 60_000

/** What we do for an identity: as long as a large file is read, it is not stuck. */
class Help {
  #begun = 0
  #done = 0

  with<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      this.#begun++
      return Effect.ensuring(
        effect,
        Effect.sync(() => void this.#done++)
      )
    })
  }

  /** Fails when nothing was done for so long. Does not keep the program alive: where nothing else does, that is told at once. */
  givenUp(ms: number, whose: string): Effect.Effect<never, StageError> {
    return Effect.callback<never, StageError>(resume => {
      let seen = this.#done
      const timer = setInterval(() => {
        const isMoving = this.#begun > this.#done || this.#done > seen
        seen = this.#done
        if (isMoving) return
        clearInterval(timer)
        const said = `${whose} did not end within ${Math.ceil(ms / 1000)} s`
        resume(Effect.fail(permanent(said, "what it waits for may never come: give it a limit of its own")))
      }, ms).unref()
      return Effect.sync(() => clearInterval(timer))
    })
  }
}

/** Evaluates the identity of a node whose stage has one. A name that was found out once stays what it is as long as this lives. */
export type Evaluate = (node: PlanNode) => Effect.Effect<Identity, StageError>

export const make = (options: IdentityOptions): Evaluate => {
  const names = new Map<string, string>()
  return node => {
    const files: Array<readonly [string, string]> = []
    const help = new Help()
    const whose = FreshIdentity.whoseIdentity(node.label, node.stage.name)
    return FreshIdentity.call(
      options.identityOf(node),
      node.parameters,
      contextOf(options, names, files, help, () => options.onUnknownName?.(node)),
      whose
    ).pipe(
      awaited.as(whose),
      work => Effect.raceFirst(work, help.givenUp(options.patienceMs ?? defaultPatienceMs, whose)),
      Effect.catchCause(cause => {
        // Where it is we who are interrupted, this is passed over.
        if (Cause.hasInterrupts(cause)) return Effect.fail(permanent(`${whose} failed: it was cut off from within`))
        const error = Cause.squash(cause)
        if (!(error instanceof StageError))
          return Effect.fail(permanent(`${whose} failed: ${Problem.messageOf(error)}`))
        const told = error.message.startsWith(`${node.label}: `) ? error.message : `${node.label}: ${error.message}`
        return Effect.fail(
          new StageError({
            class: error.class,
            message: told,
            ...(error.advice === undefined ? {} : { advice: error.advice })
          })
        )
      }),
      Effect.flatMap(value =>
        Effect.try({
          try: () => ({ text: canonical(value), files }),
          catch: cause =>
            permanent(
              `${whose} returned what cannot enter a key: ${Problem.messageOf(cause)}`,
              "it must return plain JSON"
            )
        })
      )
    )
  }
}

/** The stat of a regular file; what is none is refused with what it is, before anybody opens it and waits. */
const regular = (path: string): Effect.Effect<BigIntStats, StageError> =>
  Effect.flatMap(
    Effect.try({
      try: () => statSync(path, { bigint: true, throwIfNoEntry: false }),
      catch: cause => permanent(`${Problem.visible(String(path))}: ${Problem.messageOf(cause)}`)
    }),
    stat => {
      if (stat === undefined) return Effect.fail(permanent(`${path}: there is no such file`))
      if (stat.isFile()) return Effect.succeed(stat)
      return Effect.fail(
        permanent(`${path} is ${kindOf(stat)}, not a file`, "an input must be a regular file: its content is its key")
      )
    }
  )

const kindOf = (stat: BigIntStats): string =>
  stat.isDirectory()
    ? "a directory"
    : stat.isFIFO()
      ? "a FIFO (a named pipe)"
      : stat.isSocket()
        ? "a socket"
        : stat.isCharacterDevice() || stat.isBlockDevice()
          ? "a device"
          : "neither a file nor a directory"

const textOf = (stat: BigIntStats) => `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`

/** A file may change twice within a tick of the clock that its stat shows; only what lies further back is known by its stat. */
const isSettled = (stat: BigIntStats) => BigInt(Date.now()) - stat.ctimeNs / 1_000_000n > 2000n

/** Digest and stat that belong to each other: a file that is written to while it is read is read again. */
const digestOf = (
  options: IdentityOptions,
  path: string,
  attempts = 5
): Effect.Effect<{ readonly sha256: string; readonly size: number; readonly stat: string }, StageError> =>
  Effect.gen(function* () {
    const { database, writable } = options
    const before = yield* regular(path)
    const stat = textOf(before)
    const known = database === undefined ? undefined : Remembered.fileDigest(database, path, stat)
    if (known !== undefined) return { sha256: known.digest, size: known.size, stat }
    const { sha256, size } = yield* Effect.mapError(nodeDisk.hash(path), error =>
      permanent(error.message, error.advice)
    )
    const after = yield* regular(path)
    if (textOf(after) !== stat) {
      if (attempts > 1) return yield* digestOf(options, path, attempts - 1)
      return yield* permanent(`${path} is being written to`, "run again when whoever writes it has finished")
    }
    if (database !== undefined && writable && isSettled(before))
      Remembered.rememberFile(database, path, stat, sha256 as Digest, size)
    return { sha256, size, stat }
  })

const contextOf = (
  options: IdentityOptions,
  names: Map<string, string>,
  files: Array<readonly [string, string]>,
  help: Help,
  onUnknownName: () => void
): IdentityContext => ({
  fileDigest: path =>
    Effect.map(help.with(digestOf(options, path)), ({ sha256, size, stat }) => {
      files.push([path, stat])
      return { sha256, size }
    }),
  embedded: name =>
    Effect.flatMap(
      Effect.mapError(Layer.findArtifact(options.store.layers, name), error => permanent(error.message)),
      artifact =>
        artifact === undefined
          ? Effect.fail(
              permanent(
                `no artifact named ${name} ships with the program`,
                "`pipeline list --assets` shows those that do"
              )
            )
          : Effect.succeed(artifact.manifest)
    ),
  remember: (name, compute) =>
    Effect.suspend(() => {
      const known = names.get(name) ?? (options.refresh ? undefined : options.memory.get(name))
      const asked = Effect.tapError(compute, () => Effect.sync(onUnknownName))
      return Effect.tap(known === undefined ? asked : Effect.succeed(known), value =>
        Effect.sync(() => {
          names.set(name, value)
          if (known === undefined) options.memory.set(name, value)
        })
      )
    })
})
