/** Trainings by masked diffusion: with masks by chance or along trajectories, alone or aligned with a teacher. */
import { Effect } from "effect"
import { type AnchorStates, readAnchors } from "./anchors/anchors.ts"
import { randomMasking } from "./masks/corruption.ts"
import { countLabelled } from "./masks/corruptedRows.ts"
import { shuffledStates } from "./alignment/shuffledStates.ts"
import { readTrajectories } from "./trajectories/trajectories.ts"
import { type Trajectory, trajectoryMasking } from "./trajectories/trajectory.ts"
import { makeMaskedLosses } from "../../sessions/maskedLosses.ts"
import type { ModelConfig } from "../../models/config.ts"
import { asStageError, permanent, type StageError } from "../../pipeline/StageError.ts"
import { vocabularyDigest } from "../../tokens/vocabulary.ts"
import type { ModelTraining } from "../../training/model.ts"
import { withDropout } from "../../training/dropout.ts"
import { diffusionObservers } from "./observers.ts"
import { alignedLayers, isAligned } from "./alignment/settings.ts"
import { diffusionObjective } from "./masks/objective.ts"
import type { alignmentFields, MaskedSettings } from "../masked/settings.ts"
import type { TrainInputs } from "./context.ts"
import type { TrainingGiven } from "./trainBy.ts"
import { attempt, type Base, heldOutBound } from "./base.ts"

/** The objective of a training by masks: of masked diffusion alone, or with something beside it. */
type Objectives = (...given: Parameters<typeof diffusionObjective>) => ReturnType<typeof diffusionObjective>

/** The training of a base by masked diffusion. */
export const maskedTraining = Effect.fn("train masked diffusion")(function* (
  { base, inputs, settings: written }: TrainingGiven<MaskedSettings>,
  objectiveOf: Objectives = diffusionObjective
) {
  const { config, examples, length, mask, sequences, start, tokenizer } = base
  const settings = withLayersOf(written, config)
  const { adapter } = config.linear ?? {}
  yield* mustBeTrained(config)
  const aligned = yield* teacherStates(inputs.anchors, { config, ids: sequences, settings })
  const trajectories = yield* trajectoriesOf(inputs.trajectories, base, settings)
  const { seed } = settings
  const masked = (steps: number) => ({
    sequences,
    length,
    pad: tokenizer.padId,
    mask,
    masking:
      trajectories === undefined
        ? randomMasking(examples, settings, seed)
        : trajectoryMasking(settings, { sequences: examples, trajectories, steps, seed })
  })
  const dropping = (objective: ReturnType<Objectives>) =>
    adapter !== undefined && adapter.dropout > 0 ? withDropout(objective, seed) : objective
  return {
    ...start,
    settings,
    objective: ({ steps, ...batch }) =>
      dropping(
        objectiveOf(
          config,
          settings,
          { ...batch, ...masked(steps), averaging: settings.averaging },
          isAligned(settings)
            ? { settings, steps, seed, ...(aligned === undefined ? {} : { states: aligned }) }
            : undefined,
          trajectories === undefined ? undefined : settings
        )
      ),
    labelled: ({ epochs, steps }) => {
      const data = masked(steps)
      return step => countLabelled(epochs.rows(step), step, data, settings.trajectoryComplementary)
    },
    evaluation: (engine, trained, rows) =>
      Effect.map(makeMaskedLosses(engine, config, trained, { rows, length }), losses =>
        heldOutBound(base, losses, { draws: settings.evalDraws, rows })
      ),
    observers: ({ engine, epochs, steps }) =>
      diffusionObservers(engine, config, settings, {
        epochs,
        ...masked(steps),
        ...(trajectories === undefined ? {} : { trajectories }),
        seed,
        tokenizer
      })
  } satisfies ModelTraining
})

/** Weights in NF4 stay as they are: fails where nothing but them could be trained. */
export const mustBeTrained = ({ linear: { adapter, nf4 } = {} }: ModelConfig): Effect.Effect<void, StageError> =>
  nf4 === undefined || adapter !== undefined
    ? Effect.void
    : Effect.fail(
        permanent(
          "the base's weights are in NF4, which no training changes",
          "give the training an `adapter`, or train the base as it was before it was quantised"
        )
      )

/** Of a method's settings, those of alignment. */
export type AlignedSettings = Pick<MaskedSettings, keyof typeof alignmentFields>

/** Layers that are written for a model of another depth, at the same share of this one's. */
export const withLayersOf = <Settings extends AlignedSettings>(
  settings: Settings,
  { layers }: ModelConfig
): Settings => {
  const { alignLayers, layersOf } = settings
  if (alignLayers === undefined || layersOf === undefined) return settings
  const mapped = alignLayers.map(layer => Math.round((layer * layers.length) / layersOf))
  return { ...settings, alignLayers: [...new Set(mapped)].sort((a, b) => a - b) }
}

/** The teacher's states, where the student is aligned with it and they were made before. */
export const teacherStates = (
  anchors: TrainInputs["anchors"],
  training: {
    readonly config: ModelConfig
    readonly ids: ReadonlyArray<Int32Array>
    readonly settings: AlignedSettings & { readonly seed: number }
  }
): Effect.Effect<AnchorStates | undefined, StageError> =>
  Effect.gen(function* () {
    const { config, ids, settings } = training
    if (!isAligned(settings)) return undefined
    if (anchors === undefined && settings.shuffleTeacher)
      return yield* permanent("shuffle_teacher needs anchors", "give the stage those of the stage anchor")
    if (anchors === undefined) return undefined
    const layers = yield* attempt("align_layers", () => alignedLayers(settings, config))
    const cached = yield* readAnchors(anchors, ids, layers, config.hiddenSize)
    if (!settings.shuffleTeacher) return cached
    const lengths = ids.map(({ length }) => length)
    return yield* attempt("shuffle_teacher", () =>
      shuffledStates(cached, lengths, { d: config.hiddenSize, seed: settings.seed })
    )
  })

/** The trajectories of the examples, where masks follow them. */
const trajectoriesOf = (
  set: TrainInputs["trajectories"],
  { examples, mask, start, tokenizer }: Base,
  { trajectoryMode: mode }: MaskedSettings
): Effect.Effect<ReadonlyMap<number, Trajectory> | undefined, StageError> =>
  Effect.gen(function* () {
    if (mode === "none") return undefined
    if (set === undefined)
      return yield* permanent(
        `trajectory_mode is ${mode}, but the stage has no trajectories`,
        "give it those of the stage trajectories or decode-responses, or set trajectory_mode to none"
      )
    if (set.metadata.mode !== mode)
      return yield* permanent(`trajectory_mode is ${mode}, but the trajectories are of mode ${set.metadata.mode}`)
    const vocabulary = yield* Effect.mapError(
      Effect.fromResult(vocabularyDigest(start.tokenizer, tokenizer)),
      asStageError
    )
    return yield* readTrajectories(set, examples, { maskId: mask, vocabulary })
  })
