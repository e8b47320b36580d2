/** Inside an action's process: reads the request, runs the stage between readers and writers, leaves the result record. */
import { join } from "node:path"
import { inspect } from "node:util"
import { Cause, Effect, Exit, Schema } from "effect"
import type { Ended } from "../executors/Executor.ts"
import type { AnyPort, Kind } from "../pipeline/Artifact.ts"
import type { Json } from "../pipeline/Digest.ts"
import type { AnyStage } from "../pipeline/Stage.ts"
import type { Progress, StageContext } from "../pipeline/StageContext.ts"
import { redact } from "../pipeline/Secrets.ts"
import { permanent, StageError } from "../pipeline/StageError.ts"
import * as Layer from "../store/Layer.ts"
import { nodeDisk } from "../store/NodeDisk.ts"
import * as Store from "../store/Store.ts"
import * as InputChecks from "./InputChecks.ts"
import { readers } from "./Readers.ts"
import { decodeRequest, encodeResult, type Request, requestFile, resultFile, type ResultRecord } from "./Request.ts"
import { outputWriter } from "./Writers.ts"

/** Finds a stage by what the request says of it. */
export interface LoadStage {
  (stage: Request["stage"]): Promise<AnyStage>
  /** Why a module was not loaded, whether or not the stage caught that: its result is not what the key says. */
  readonly refused?: () => StageError | undefined
}

/** How often progress leaves the process, in milliseconds. */
const progressEveryMs = 100

/** Runs the action whose request lies in `directory`. Never fails: how it ended is the value. */
export const execute = (
  directory: string,
  load: LoadStage,
  onProgress: (progress: Progress) => void
): Effect.Effect<Exclude<Ended, { readonly _tag: "Died" }>> =>
  Effect.gen(function* () {
    const path = join(directory, requestFile)
    const bytes = yield* Effect.mapError(nodeDisk.read(path), error => permanent(error.message))
    const request = yield* Effect.try({
      try: () => decodeRequest(Buffer.from(bytes).toString("utf8")),
      catch: cause => permanent(`${path}: ${messageOf(cause)}`)
    })
    const stage = yield* Effect.tryPromise({
      try: () => load(request.stage),
      catch: cause =>
        load.refused?.() ??
        permanent(`stage ${request.stage.name} could not be loaded from ${request.stage.module}: ${messageOf(cause)}`)
    })
    const result = yield* runStage(request, stage, onProgress)
    const refused = load.refused?.()
    if (refused !== undefined) return yield* refused
    yield* Effect.mapError(
      nodeDisk.write(join(directory, resultFile), encodeResult(result)),
      error => new StageError({ class: "storage", message: error.message, advice: error.advice })
    )
  }).pipe(Effect.exit, Effect.map(Exit.match({ onSuccess: () => ({ _tag: "Done" }) as const, onFailure: failureOf })))

const runStage = (
  request: Request,
  stage: AnyStage,
  onProgress: (progress: Progress) => void
): Effect.Effect<ResultRecord, StageError> =>
  Effect.gen(function* () {
    if ((stage.identity === undefined) !== (request.identity === undefined))
      return yield* permanent(
        `stage ${request.stage.name} ${stage.identity === undefined ? "has no identity any more" : "has an identity now"}, other than when the pipeline was loaded`,
        "run again: then the pipeline is loaded with the code of now"
      )
    const cpuBefore = process.cpuUsage()
    const layers = request.store.layers.map(path => Layer.make({ directory: path, disk: nodeDisk }))
    // What is damaged stays where it is: the runner looks at it, and moves it aside when the ledger knows what it means.
    const store = Store.make({
      root: request.store.root,
      disk: nodeDisk,
      layers,
      checked: request.checked,
      aside: false
    })
    const checks = InputChecks.make(store, nodeDisk, [request.staging, request.scratch, request.checkpoint])
    const parameters = yield* Effect.mapError(Schema.decodeUnknownEffect(stage.parameters)(request.parameters), error =>
      permanent(`the parameters of ${request.label} do not fit stage ${stage.name}: ${error.message}`)
    )
    const inputs = yield* readers(store, stage.inputs, request, checks)
    const outputs = yield* Effect.forEach(Object.entries(stage.outputs), ([port, kind]) =>
      Effect.map(outputWriter({ store, disk: nodeDisk, kind, port, request }), output => [port, output] as const)
    )
    const metrics: Array<ResultRecord["metrics"][number]> = []
    let sent = 0
    const context: StageContext<Record<string, AnyPort>, unknown, Record<string, Kind.Any>> = {
      inputs: inputs as never,
      outputs: Object.fromEntries(outputs.map(([port, output]) => [port, output.writer])) as never,
      parameters,
      identity: request.identity as Json | undefined,
      progress: progress =>
        Effect.sync(() => {
          const now = Date.now()
          if (now - sent < progressEveryMs && progress.done !== progress.total) return
          sent = now
          onProgress(progress)
        }),
      metric: (name, value, step) =>
        Effect.suspend(() => {
          if (typeof value !== "number" || (step !== undefined && !Number.isSafeInteger(step)))
            return Effect.die(
              permanent(
                `metric ${name}: a number at an integer step was expected, got ${inspect(value)}${step === undefined ? "" : ` at step ${inspect(step)}`}`
              )
            )
          metrics.push({ name, value: Number.isFinite(value) ? value : null, ...(step === undefined ? {} : { step }) })
          return Effect.void
        }),
      checkpoint: request.checkpoint,
      scratch: request.scratch,
      slots: request.slots,
      engine: request.engine
    }
    const written = yield* checks.around(
      Effect.andThen(
        stage.run(context),
        Effect.forEach(outputs, ([, output]) => output.finish)
      )
    )
    const cpu = process.cpuUsage(cpuBefore)
    return {
      version: 1,
      key: request.key,
      outputs: written.map(({ digest, manifest, port }) => ({ port, digest, manifest })),
      staged: written.flatMap(({ staged }) => staged),
      metrics,
      checked: store.checks(),
      cpuMs: Math.round((cpu.user + cpu.system) / 1000),
      peakKib: process.resourceUsage().maxRSS
    }
  })

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** What is recorded of a failure, without secrets. Expected failures in the stage's own words; a defect with its stack in the log, where a developer looks. */
const failureOf = (cause: Cause.Cause<StageError>): Exclude<Ended, { readonly _tag: "Died" | "Done" }> => {
  const error = Cause.squash(cause)
  if (error instanceof StageError) {
    console.error(redact(`${error.message}${error.advice === undefined ? "" : `\n${error.advice}`}`))
    return {
      _tag: "Failed",
      class: error.class,
      message: redact(error.message),
      ...(error.advice === undefined ? {} : { advice: redact(error.advice) }),
      ...(error.object === undefined ? {} : { object: error.object }),
      ...(error.artifact === undefined ? {} : { artifact: error.artifact })
    }
  }
  if (Cause.hasInterruptsOnly(cause)) return { _tag: "Failed", class: "interrupted", message: "interrupted" }
  console.error(redact(inspect(error)))
  return {
    _tag: "Failed",
    class: "permanent",
    message: redact(`unexpected error: ${messageOf(error)}`),
    advice: "this is a bug in the stage; its log holds the stack"
  }
}
