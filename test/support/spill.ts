/** A stage that writes sequences and their trajectories as JSON, for tests to read. */
import { Effect, Schema, Stream } from "effect"
import { Report, TokenSequences, Trajectories } from "../../src/artifacts/kinds.ts"
import { allSequences } from "../../src/artifacts/sequences.ts"
import { trajectoryRecords, type TrajectoryRecord } from "../../src/methods/shared/trajectories/trajectories.ts"
import * as Stage from "../../src/pipeline/Stage.ts"

export interface Spilled {
  readonly sequences: ReadonlyArray<{
    readonly ids: ReadonlyArray<number>
    readonly lossMask: ReadonlyArray<number>
    readonly promptLength: number
    readonly idx?: number
    readonly document: number
  }>
  readonly trajectories: ReadonlyArray<TrajectoryRecord>
  readonly metadata: { readonly [field: string]: unknown }
}

export const spilledFile = "spilled.json"

export const spill = Stage.make("spill", {
  inputs: { sequences: TokenSequences, trajectories: Trajectories },
  parameters: Schema.Struct({}),
  outputs: { report: Report },
  run: Effect.fn("spill")(function* ({ inputs, outputs: { report } }) {
    const sequences = (yield* allSequences(inputs.sequences)).map(({ ids, lossMask, ...rest }) => ({
      ...rest,
      ids: Array.from(ids),
      lossMask: Array.from(lossMask)
    }))
    const trajectories = Array.from(yield* Stream.runCollect(trajectoryRecords(inputs.trajectories)))
    const spilled: Spilled = { sequences, trajectories, metadata: inputs.trajectories.metadata }
    yield* report.write(spilledFile, JSON.stringify(spilled))
    yield* report.metadata({ title: "" })
  })
})
