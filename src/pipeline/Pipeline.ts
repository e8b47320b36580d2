/** Pipelines: named DAGs of stages, written as a function that calls stages under a profile. */
import { isRef, type Ref } from "./Artifact.ts"
import { ConfigError } from "./ConfigError.ts"
import type { ModelFamily } from "./ModelFamily.ts"
import type { Explain } from "./Parameters.ts"
import { type Override, PlanBuilder } from "./PlanBuilder.ts"
import type { BillOf, Plan } from "./Plan.ts"
import { quoted } from "./shell.ts"
import { closest } from "./Suggestion.ts"

/** What a pipeline's function may return: an artifact, or any nesting of records and lists of artifacts. */
export type Targets =
  | Ref
  | ReadonlyArray<Targets>
  | { readonly [name: string]: Targets | string | number | boolean | undefined }

/** What the command line may ask of a pipeline besides its profile. */
export interface Variant {
  /** A first look, in little time. */
  readonly quick?: boolean
  /** Rows that only serve as controls, too. */
  readonly controls?: boolean
  /** Rows with single parts changed, too. */
  readonly ablations?: boolean
  /** Every training so many times, each with a seed of its own. */
  readonly seeds?: number
  /** Values to try of fields, as they are typed: `train.lr=1e-4,3e-4`. */
  readonly sweep?: ReadonlyArray<string>
  /** A model of another kind than the pipeline's usual one. */
  readonly family?: ModelFamily
  /** A configuration file of the user's, as its path was given. */
  readonly config?: string
}

/** The flags that ask for it, as a shell reads them: `--quick`, `--seeds 3`. */
export const flagsOf = (variant: Variant): ReadonlyArray<string> =>
  Object.entries(variant).flatMap(([flag, value]: readonly [string, Variant[keyof Variant]]) =>
    value === true ? [`--${flag}`] : [value].flat().map(each => `--${flag} ${quoted(String(each))}`)
  )

/** Stages that advice lists. */
const listed = 20

/**
 * Advice where a stage is named that is not there: those that are meant, as their names begin with this one (it may have become several) or come nearest to it; else
 * those that are there, and the flags that may bring others.
 */
export const stagesAdvice = (
  { variants }: Pick<Pipeline, "variants">,
  variant: Variant,
  nodes: Plan["nodes"],
  asked: string
): string => {
  const stages = [...new Set(nodes.map(({ stage }) => stage.name))]
  // A stage that is used once is labelled by its own name.
  const known = [...new Set([...stages, ...nodes.map(({ label }) => label)])]
  const [stage, ...use] = asked.split("/")
  const parts = known.filter(
    name => name.startsWith(`${stage}-`) && name.split("/").slice(1).join("/") === use.join("/")
  )
  const near = closest(asked, known)
  const meant = parts.length > 0 || near === undefined ? parts : [near]
  if (meant.length > 0)
    return `did you mean ${[meant.slice(0, -1).join(", "), ...meant.slice(-1)].filter(Boolean).join(" or ")}?`
  const flags = variants.filter(flag => variant[flag] === undefined).map(flag => `--${flag}`)
  const others = flags.length === 0 ? "" : `; there may be others with ${flags.join(", ")}`
  return `its stages: ${stages.slice(0, listed).join(", ")}${stages.length > listed ? ", …" : ""}${others}`
}

export interface PipelineOptions<Profile> {
  /** One sentence for `pipeline list`. */
  readonly description: string
  /** The flags that it takes, `--quick` for example; asking for another is an error. */
  readonly variants?: ReadonlyArray<keyof Variant>
  /** By name; the first is the default. A profile is made only when it is chosen. */
  readonly profiles: { readonly [name: string]: ProfileOptions<Profile> }
  /**
   * By stage: a schema that refuses at least what the stage's own does, and says more of why. It is asked when a stage's own refuses, and is no part of the stage's
   * code: its words may change without a new key.
   */
  readonly explain?: Explain
}

export interface ProfileOptions<Profile> {
  readonly description: string
  /** What a run needs besides this program, for `pipeline list`: `nothing`, `network, 10 GB of disk` … */
  readonly needs: string
  /** The same in numbers, of a profile that not every machine can run: looked at before anything starts. */
  readonly bill?: BillOf
  readonly make: () => Profile
}

/** A pipeline with the type of its profiles closed in: what planning works on. */
export interface Pipeline {
  readonly _tag: "Pipeline"
  readonly name: string
  readonly description: string
  readonly profiles: { readonly [name: string]: Omit<ProfileOptions<unknown>, "make"> }
  readonly variants: ReadonlyArray<keyof Variant>
  readonly explain: Explain
  /** Makes the profile and calls the stages. Runs inside a PlanBuilder. */
  readonly build: (profileName: string, variant: Variant, overrides: ReadonlyArray<Override>) => Targets
}

export interface BuildContext<Profile> {
  readonly profile: Profile
  readonly profileName: string
  readonly variant: Variant
  /** What a user types to get this plan; the engine, and where the cache lies, are left out. */
  readonly command: string
}

export const make = <Profile>(
  name: string,
  options: PipelineOptions<Profile>,
  build: (context: BuildContext<Profile>) => Targets
): Pipeline => ({
  _tag: "Pipeline",
  name,
  description: options.description,
  profiles: options.profiles,
  variants: options.variants ?? [],
  explain: options.explain ?? {},
  build: (profileName, variant, overrides) =>
    build({
      profile: options.profiles[profileName]!.make(),
      command: [
        `pipeline run ${name}`,
        `--profile ${profileName}`,
        ...flagsOf(variant),
        ...overrides.map(({ text }) => `--set ${text}`)
      ].join(" "),
      variant,
      profileName
    })
})

export const isPipeline = (value: unknown): value is Pipeline =>
  typeof value === "object" && value !== null && (value as { _tag?: unknown })._tag === "Pipeline"

/** Evaluates a pipeline under a profile. Throws ConfigError for wrong wiring, parameters, profile or overrides. */
export const evaluate = (
  pipeline: Pipeline,
  options: {
    readonly profile?: string | undefined
    readonly overrides?: ReadonlyArray<Override>
    readonly variant?: Variant
  } = {}
): Plan => {
  const names = Object.keys(pipeline.profiles)
  const profileName = options.profile ?? names[0]
  if (profileName === undefined || !names.includes(profileName)) {
    throw new ConfigError({
      at: `--profile ${profileName}`,
      message: `pipeline ${pipeline.name} has no such profile`,
      advice: `its profiles: ${names.join(", ")}`
    })
  }
  const variant = options.variant ?? {}
  const refused = (Object.keys(variant) as ReadonlyArray<keyof Variant>).find(flag => !pipeline.variants.includes(flag))
  if (refused !== undefined)
    throw new ConfigError({
      at: `--${refused}`,
      message: `pipeline ${pipeline.name} does not take it`,
      ...(pipeline.variants.length === 0 ? {} : { advice: `it takes --${pipeline.variants.join(", --")}` })
    })
  const builder = new PlanBuilder(options.overrides ?? [], pipeline.explain)
  const returned = builder.run(() => pipeline.build(profileName, variant, options.overrides ?? []))
  const unused = builder.unusedOverrides[0]
  if (unused !== undefined) {
    const refusal = builder.refusal(unused)
    if (refusal !== undefined) throw refusal
    throw new ConfigError({
      at: `--set ${unused.text}`,
      message: `pipeline ${pipeline.name} has no stage ${unused.target}`,
      advice: stagesAdvice(pipeline, variant, builder.nodes, unused.target)
    })
  }
  const { bill } = pipeline.profiles[profileName]!
  return {
    pipeline: pipeline.name,
    profile: profileName,
    ...(variant.quick === true ? { quick: true } : {}),
    nodes: builder.nodes,
    targets: collectTargets(returned, builder),
    ...(bill === undefined ? {} : { bill })
  }
}

/** Finds the references in what the pipeline returned; the path to each is its name. */
const collectTargets = (returned: Targets, builder: PlanBuilder): Plan["targets"] => {
  const targets = new Map<string, Plan["targets"][number]>()
  const seen = new Set<unknown>()
  const pending: Array<readonly [name: string, value: unknown]> = [["", returned]]
  while (pending.length > 0) {
    const [name, value] = pending.pop()!
    if (isRef(value)) {
      builder.check(value, name === "" ? "what the pipeline returned" : `what the pipeline returned as ${name}`)
      const target = name === "" ? builder.nodes[value.node]!.stage.name : name
      if (targets.has(target)) throw new ConfigError({ message: `the pipeline returned two artifacts as ${target}` })
      targets.set(target, { name: target, node: value.node, output: value.output })
    } else if (typeof value === "object" && value !== null) {
      if (seen.has(value)) continue
      seen.add(value)
      for (const [key, below] of Object.entries(value).reverse()) {
        pending.push([name === "" ? key : `${name}.${key}`, below])
      }
    }
  }
  return [...targets.values()]
}
