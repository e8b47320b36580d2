/**
 * What teachers give to the trainings of a comparison: states to align with, orders of revealing, responses of their own. Each is made once for all rows that ask for the same, and a teacher that is
 * the row itself is trained first.
 */
import type { Anchors, ModelFiles, TokenSequences, Trajectories } from "../src/artifacts/kinds.ts"
import type { ProfileConfig } from "../src/config/profile.ts"
import type { Needs } from "../src/methods/shared/needs.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { anchor } from "../stages/anchor.ts"
import { concatenate } from "../stages/concatenate.ts"
import { decodeResponses } from "../stages/decode-responses.ts"
import { trajectories } from "../stages/trajectories.ts"
import { follows } from "./follows.ts"
import { type Settings, noTrajectories } from "./grid.ts"

/** Inputs of a training. */
export interface Taught {
  readonly sequences: Ref<typeof TokenSequences>
  readonly anchors?: Ref<typeof Anchors>
  readonly trajectories?: Ref<typeof Trajectories>
}

/** A training that is taught. */
export interface Student {
  readonly name: string
  /** Its model, trained without trajectories. */
  readonly untaught: () => Ref<typeof ModelFiles>
}

export interface TeachingOptions {
  readonly base: Ref<typeof ModelFiles>
  readonly corpus: Ref<typeof TokenSequences>
  /** Trained on beside the corpus; where there are some, a teacher's own responses are to their prompts alone. */
  readonly examples?: Ref<typeof TokenSequences>
  readonly profile: Pick<ProfileConfig, "trajectories" | "responses">
  /** A model that a row names, under a name of its own. */
  readonly modelOf: (reference: string, name: string) => Ref<typeof ModelFiles>
}

/** A teacher, and how results of asking it are told from those of others. */
interface Teacher {
  readonly name: string
  /** As settings name it. */
  readonly reference: string
  readonly model: Ref<typeof ModelFiles>
}

/** The teacher that is the base of all rows. */
const ofBase = "base"

export const makeTeaching = ({ base, corpus, examples, modelOf, profile }: TeachingOptions) => {
  const together = new Map<string, Ref<typeof TokenSequences>>()
  /** The corpus with some examples, where these are not all there is. */
  const beside = (name: string, own: Ref<typeof TokenSequences>) =>
    examples === undefined ? own : once(together, name, () => concatenate({ name, parts: { corpus, examples: own } }))
  const data = beside("data", examples ?? corpus)
  const anchors = new Map<string, Ref<typeof Anchors>>()
  const orders = new Map<string, Ref<typeof Trajectories>>()
  const responses = new Map<string, ReturnType<typeof decodeResponses>>()
  const teachers = new Map<string, Teacher>([[ofBase, { name: ofBase, reference: ofBase, model: base }]])

  const teacherOf = (reference: string, student: Student): Teacher => {
    const isSelf = reference === "self"
    const name = isSelf ? student.name : reference.replaceAll(/[^\w.-]+/g, "_").replace(/^[^a-z\d]+/i, "")
    const teacher = once(teachers, name, () => ({
      name,
      reference,
      model: isSelf ? student.untaught() : modelOf(reference, name)
    }))
    if (teacher.reference === reference) return teacher
    throw new ConfigError({
      at: `train/${student.name}.trajectory_teacher`,
      message: `what ${reference} gives would be called ${name}, as that of another teacher is`,
      advice: "give the row, or the model's directory, another name"
    })
  }

  const responsesOf = ({ model, name }: Teacher) =>
    once(responses, name, () =>
      decodeResponses(Origin.overlay(profile.responses ?? {}, { name, teacher: model, sequences: examples ?? corpus }))
    )

  const ordersOf = (
    mode: Exclude<Needs["trajectories"], "none" | "decoded">,
    { model, name: by }: Teacher,
    own: boolean,
    sequences: Ref<typeof TokenSequences>
  ) => {
    const name = [mode, ...(own ? ["own"] : []), ...(by === ofBase ? [] : [by])].join("-")
    const settings = Origin.overlay(profile.trajectories ?? {}, { name, mode })
    follows(`trajectories/${name}.mode`, trajectories.settings(settings).mode, mode, "trajectory_mode")
    return once(orders, name, () => trajectories(Origin.overlay(settings, { teacher: model, sequences })))
  }

  /** The base's states of the sequences. `of`: whose responses they are, if not the data's. */
  const anchorsOf = (sequences: Ref<typeof TokenSequences>, of?: string) =>
    once(anchors, of ?? "", () =>
      anchor({ teacher: base, sequences, layers: "all", ...(of === undefined ? {} : { name: of }) })
    )

  return {
    /** What the settings of a student ask for. */
    of: ({ anchors: aligned, response, teacher: reference, trajectories: mode }: Needs, student: Student): Taught => {
      const own = response === "own"
      const teacher = teacherOf(own || mode !== "none" ? reference : ofBase, student)
      const decoded = own ? responsesOf(teacher) : undefined
      const sequences = decoded === undefined ? data : beside(`own-${teacher.name}`, decoded.sequences)
      return {
        sequences,
        ...(aligned ? { anchors: anchorsOf(sequences, own ? teacher.name : undefined) } : {}),
        ...(mode === "none"
          ? {}
          : { trajectories: mode === "decoded" ? decoded!.trajectories : ordersOf(mode, teacher, own, sequences) })
      }
    },
    /** What was made, as reports take it. */
    made: () => ({
      anchors: renamed(anchors, name => (name === "" ? "teacher" : `teacher-${name}`)),
      trajectories: {
        ...Object.fromEntries(orders),
        ...Object.fromEntries([...responses].map(([name, made]) => [`decoded-${name}`, made.trajectories]))
      },
      responses: Object.fromEntries([...responses].map(([name, made]) => [`responses-${name}`, made.sequences]))
    })
  }
}

/** The settings of a training without trajectories: those of the row as if it had never heard of them. */
export const untaught = <S extends Settings>(settings: S, name: string): S & { readonly name: string } =>
  Origin.overlay(settings, { ...noTrajectories(settings), name }) as unknown as S & { readonly name: string }

/** The needs of a training that is a teacher's; refuses those of one along trajectories. */
export const mustBeUntaught = (name: string, needs: Needs): Needs => {
  const { response, trajectories: mode } = needs
  if (mode === "none" && response === "data") return needs
  throw new ConfigError({
    at: "--set",
    message: `train/${name} is the teacher of a row, trained without trajectories; trajectory_${mode === "none" ? "response" : "mode"} is set for it, too`,
    advice: "set it for the rows that are meant: train/ROW.trajectory_mode"
  })
}

const once = <A>(made: Map<string, A>, name: string, make: () => A): A => {
  const known = made.get(name) ?? make()
  made.set(name, known)
  return known
}

const renamed = <A>(made: ReadonlyMap<string, A>, name: (name: string) => string): { readonly [name: string]: A } =>
  Object.fromEntries([...made].map(([known, value]) => [name(known), value]))
