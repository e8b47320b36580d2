/** The comparison grid as a plan: which rows there are, and what of a row's configuration reaches which stage. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { Array as Arr, Effect, Option, Schema } from "effect"
import { assert, describe, it } from "vitest"
import compare from "../../pipelines/compare-50x.ts"
import { comparison } from "../../pipelines/comparison.ts"
import pretrain from "../../pipelines/pretrain-teacher.ts"
import { config } from "../../pipelines/config.ts"
import { configOf, inCommon } from "../../pipelines/grid.ts"
import { ablations, controls, rows } from "../../pipelines/rows.ts"
import { variantOf } from "../../src/cli/flags.ts"
import { planOf } from "../../src/cli/pipelines.ts"
import { decodeConfig } from "../../src/config/configFile.ts"
import { parseOverride } from "../../src/config/overrides.ts"
import { ProfileConfig } from "../../src/config/profile.ts"
import { render } from "../../src/pipeline/ConfigError.ts"
import * as Origin from "../../src/pipeline/Origin.ts"
import { evaluate, type Variant } from "../../src/pipeline/Pipeline.ts"
import { RowConfig } from "../../src/methods/configuration.ts"
import { rendered } from "../support/configErrors.ts"
import { temporaryDirectory } from "../support/inProcess.ts"

const planned = (
  options: { readonly set?: ReadonlyArray<string>; readonly variant?: Variant; readonly profile?: string } = {}
) => {
  const plan = evaluate(compare, {
    overrides: (options.set ?? []).map(parseOverride),
    variant: options.variant ?? {},
    profile: options.profile
  })
  return new Map(plan.nodes.map(node => [node.label, node]))
}

const measurements = ["evaluate-likelihood", "evaluate-texts", "evaluate-sort", "benchmark"]

/** The trainings of rows; that of a row's own teacher stands before it. */
const trainingsOf = (...names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.flatMap(name => (name === "own_trajectories" ? [`train/${name}-teacher`, `train/${name}`] : [`train/${name}`]))

const textOf = (nodes: ReturnType<typeof planned>) =>
  Object.fromEntries([...nodes].map(([label, { parametersText }]) => [label, parametersText]))

describe("compare-50x", () => {
  it("trains, evaluates and times each row, and reports them all", () => {
    const labels = [...planned().keys()]
    for (const { name } of rows)
      for (const stage of ["train", ...measurements]) assert.include(labels, `${stage}/${name}`)
    assert.include(labels, "report-grid")
    assert.include(labels, "evaluate-references")
    assert.notInclude(labels, `train/${controls[0]!.name}`)
    assert.include([...planned({ variant: { controls: true } }).keys()], `train/${controls[0]!.name}`)
  })

  it("a field of one row changes the training of that row alone, one of the stage that of all; the report says so", () => {
    const before = textOf(planned())
    const changed = (after: typeof before) => Object.keys(before).filter(label => before[label] !== after[label])
    assert.deepStrictEqual(changed(textOf(planned({ set: ["train/with_align.repr_align_wt=0.5"] }))), [
      "train/with_align",
      "report-grid"
    ])
    assert.deepStrictEqual(changed(textOf(planned({ set: ["train.lr=2e-4"] }))), [
      ...trainingsOf(...rows.map(({ name }) => name)),
      "report-grid"
    ])
  })

  it("measures what the rows are compared with on the text of the rows, and each row beside the teacher", () => {
    const set = ["evaluate-likelihood.documents=7", "evaluate-likelihood.sequencesPerDocument=2"]
    const nodes = planned({ set })
    const of = (label: string) => nodes.get(label)!
    assert.include(of("evaluate-references").parameters as object, { documents: 7, sequencesPerDocument: 2 })
    const from = (label: string, port: string) => of(label).wires.find(wire => wire.port === port)!.node
    // The unigram model is one of the documents, not of the problems beside them.
    assert.strictEqual([...nodes.keys()][from("evaluate-references", "corpus")], "tokenize/corpus")
    for (const { name } of rows) {
      assert.strictEqual(from(`evaluate-likelihood/${name}`, "teacher"), from(`train/${name}`, "base"))
      assert.strictEqual(from(`evaluate-likelihood/${name}`, "teacher"), from("evaluate-references", "teacher"))
      assert.strictEqual(from(`evaluate-likelihood/${name}`, "heldOut"), from("evaluate-references", "heldOut"))
    }
  })

  it("knows of a parameter in which file it stands: the row's, or the profile's", () => {
    const { given } = planned().get("train/with_align")!
    const file = (field: string) => Origin.find(given, [field])!.file
    assert.match(file("repr_align_wt"), /compare_50x_with_align\.yaml$/)
    assert.match(file("seed"), /compare_50x_with_align\.yaml$/)
    assert.match(file("lr"), /embedded\.yaml$/)
  })

  it("refuses what is not supported, with the reason", () => {
    const message = rendered(() => planned({ set: ["train.rmpad=true"] }))
    assert.match(message, /train\/no_align\.rmpad: not supported: rows are always packed/)
  })

  it("refuses settings of another method than the row's, whose training they would not change", () => {
    const refused = (row: string, set: string) => rendered(() => planned({ set: [`train/${row}.${set}`] }))
    assert.match(refused("no_align", "cola_wt=0.5"), /no_align\.cola_wt: belongs to the method cola, .* is masked/)
    assert.match(refused("with_align", "ldlm.depth=2"), /with_align\.ldlm: belongs to the method ldlm, .* is masked/)
    assert.match(refused("cola", "vfm={}"), /cola\.vfm: belongs to the method vfm, .* is cola/)
    const both = refused("ldlm", "method=vfm")
    assert.match(both, /ldlm\.method: vfm needs its group: `vfm: \{\}` takes all defaults/)
    assert.match(both, /compare_50x_ldlm\.yaml:\d+:\d+: .*ldlm\.ldlm: belongs to the method ldlm, .* is vfm/)
    // Also with the value that changes nothing: no field of another method is a part of a key.
    assert.match(refused("no_align", "cola_wt=0"), /no_align\.cola_wt: belongs to the method cola, .* is masked/)
    assert.match(refused("ldlm", "align_layers=1"), /belongs to the methods masked, cola and bd3lm, but method is ldlm/)
    const several = rendered(() => planned({ set: ["train/no_align.cola_beta=1", "train/no_align.lr=fast"] }))
    assert.match(several, /cola_beta: belongs to the method cola[^]*no_align\.lr must be a number/)
  })

  it("means the rows whose method has a field, where it is set for all", () => {
    const before = textOf(planned())
    const after = textOf(planned({ set: ["train.cola_beta=0.002", "train.panel_every_steps=7"] }))
    const changed = Object.keys(before).filter(label => before[label] !== after[label])
    const masked = ["no_align", "with_align", "with_align_all_layers", "with_trajectory", "own_trajectories"]
    assert.deepStrictEqual(changed, [...trainingsOf(...masked), "train/cola", "report-grid"])
    // Of one method, and set in rows of it alone.
    assert.match(
      rendered(() => planned({ set: ["train/with_align.repr_align_wt=1", "train.colabeta=1"] })),
      /train\/no_align\.colabeta is not known/
    )
  })

  it("asks of a measurement what the method has: no bound of LDLM, and no masks that it would reveal", () => {
    const refused = (set: string) => rendered(() => planned({ set: [set] }))
    const owners = "belongs to the methods masked, vfm, cola and bd3lm, but method is ldlm"
    assert.include(refused("evaluate-likelihood/ldlm.draws=5"), `evaluate-likelihood/ldlm.draws: ${owners}`)
    assert.include(refused("benchmark/ldlm.decoding.alg=origin"), `benchmark/ldlm.decoding.alg: ${owners}`)
    assert.include(refused("evaluate-texts.decoding.algo=origin"), "evaluate-texts/no_align.decoding.algo is not known")
    const before = textOf(planned())
    const changed = (...set: ReadonlyArray<string>) => {
      const after = textOf(planned({ set }))
      return Object.keys(before).filter(label => before[label] !== after[label] && label !== "report-grid")
    }
    const others = rows.map(({ name }) => name).filter(name => name !== "ldlm")
    for (const set of ["evaluate-likelihood.draws=5", "evaluate-sort.decoding.eps=0.01"])
      assert.deepStrictEqual(
        changed(set),
        others.map(name => `${set.split(".")[0]}/${name}`)
      )
    assert.deepStrictEqual(changed("evaluate-texts/ldlm.decoding.topP=0.5"), ["evaluate-texts/ldlm"])
  })

  it("keeps in the key of a training the fields of its method alone", () => {
    const nodes = planned()
    const fields = (row: string) =>
      Object.keys(JSON.parse(nodes.get(`train/${row}`)!.parametersText) as Record<string, unknown>)
    const of = (row: string, begin: RegExp) => fields(row).filter(field => begin.test(field))
    for (const { name } of rows) assert.include(fields(name), "method")
    assert.isEmpty(of("no_align", /^(cola|ldlm|vfm)/))
    assert.isEmpty(of("ldlm", /^(cola|vfm|mdm|repr|trajectory|align|gen|panel|replay|eval_draws)/))
    assert.isEmpty(of("vfm", /^(cola|ldlm|repr|trajectory|align_|gen|panel|replay)/))
    assert.isNotEmpty(of("cola", /^cola/))
    assert.isNotEmpty(of("cola", /^mdm/))
  })

  it("refuses them in a file, too, and says where they stand", () => {
    const refused = (...train: ReadonlyArray<string>) => {
      const file = [
        'model: { model_path: "embedded:teacher" }',
        'data: { train_path: "embedded:documents", max_seq_len: 32 }',
        "train: ",
        ...["num_train_epochs: 1", "global_batch_size: 1", "lr: 1e-3", ...train].map(line => `  ${line}`)
      ]
      return rendered(() => decodeConfig(RowConfig, file.join("\n"), "row.yaml"))
    }
    assert.match(refused("ldlm: {}"), /row\.yaml:7:9\b[^]*train\.ldlm: belongs to the method ldlm, .* is masked/)
    assert.match(
      refused("cola_beta: 0.1"),
      /row\.yaml:7:14\b[^]*train\.cola_beta: belongs to the method cola, .* is masked/
    )
    assert.match(refused("rmpad: true"), /row\.yaml:7:10\b[^]*train\.rmpad: not supported: rows are always packed/)
    assert.match(refused("cola_wt: 0", "method: cola"), /row\.yaml:8:11\b[^]*train\.method: cola needs a weight/)
  })

  it("wires the teacher's states and the trajectories to the rows that use them", () => {
    const nodes = planned({ variant: { controls: true } })
    const ports = (name: string) => nodes.get(`train/${name}`)!.wires.map(({ port }) => port)
    assert.notInclude(ports("no_align"), "anchors")
    assert.include(ports("with_align"), "anchors")
    assert.include(ports("with_trajectory"), "trajectories")
    const order = nodes.get("train/random_order")!.wires.find(({ port }) => port === "trajectories")!
    assert.strictEqual([...nodes.values()][order.node]!.label, "trajectories/random")
  })

  it("follows --set where wiring depends on a setting", () => {
    const wired = (row: string, ...set: ReadonlyArray<string>) => {
      const nodes = planned({ set })
      const all = [...nodes.values()]
      const { wires } = nodes.get(`train/${row}`)!
      return {
        labels: [...nodes.keys()],
        of: (port: string) => all[wires.find(wire => wire.port === port)?.node ?? -1]?.label
      }
    }
    const entropy = wired("no_align", "train/no_align.trajectory_mode=entropy")
    assert.strictEqual(entropy.of("trajectories"), "trajectories/entropy")
    assert.strictEqual(wired("no_align", "train/no_align.repr_align_wt=1").of("anchors"), "anchor")
    assert.strictEqual(wired("no_align", "train/no_align.subgoal_align_wt=1").of("anchors"), "anchor")
    assert.strictEqual(wired("with_trajectory", "train.trajectory_mode=none").of("trajectories"), undefined)
    assert.isUndefined(wired("with_align", "train/with_align.repr_align_wt=0").of("anchors"))
    const none = rows
      .map(({ name }) => name)
      .filter(name =>
        planned()
          .get(`train/${name}`)!
          .wires.some(({ port }) => port === "anchors")
      )
    assert.notInclude(wired("with_align", ...none.map(name => `train/${name}.repr_align_wt=0`)).labels, "anchor")
    const cola = planned({ set: ["train/no_align.method=cola", "train/no_align.cola_wt=0.1"] })
    for (const stage of measurements)
      assert.strictEqual((cola.get(`${stage}/no_align`)!.parameters as { method: string }).method, "cola")
  })

  it("completes a row whose method is set: without what the profile says of others", () => {
    const { path, remove } = temporaryDirectory()
    try {
      const file = join(path, "plain.yaml")
      const [{ config: name }] = rows
      const shipped = readFileSync(new URL(`../../configs/${String(name)}.yaml`, import.meta.url), "utf8")
      writeFileSync(file, shipped.replace(/ *repr_align_wt.*/, ""))
      const row = { name: "plain", label: "", config: pathToFileURL(file) }
      const parameters = (...set: ReadonlyArray<string>) =>
        evaluate(comparison("plain", { description: "", rows: [row] }), {
          overrides: set.map(parseOverride)
        }).nodes.find(({ label }) => label === "train/plain")!.parameters
      assert.containSubset(parameters(), { method: "masked", panelEverySteps: 40, layersOf: 28, evalEvery: 18 })
      const adapted = parameters("train/plain.method=vfm", "train/plain.vfm={}")
      assert.containSubset(adapted, { method: "vfm", evalEvery: 18 })
      assert.notProperty(adapted, "panelEverySteps")
      assert.include(
        rendered(() => parameters("train/plain.method=vfm", "train/plain.vfm={}", "train/plain.layers_of=2")),
        "layers_of: belongs to the methods masked, cola and bd3lm, but method is vfm"
      )
    } finally {
      remove()
    }
    const refused = rendered(() => planned({ set: ["train/vfm.method=masked"] }))
    assert.match(refused, /compare_50x_vfm\.yaml:\d+:\d+: .*vfm\.vfm: belongs to the method vfm, but method is masked/)
  })

  it("refuses settings that contradict each other, and shows the place of each", () => {
    const refused = (row: string, set: string) => rendered(() => planned({ set: [`train/${row}.${set}`] }))
    const elbo = refused("with_trajectory", "mdm_loss=elbo")
    assert.match(elbo, /compare_50x_with_trajectory\.yaml:\d+:\d+: .*trajectory_mode: does not go with mdm_loss/)
    assert.match(elbo, /mdm_loss: does not go with trajectory_mode: .*\n  --set train\/with_trajectory\.mdm_loss=elbo/)
    const fresh = refused("ldlm", "pretrained=false")
    assert.match(fresh, /compare_50x_ldlm\.yaml:\d+:\d+: .*method: does not go with pretrained/)
    assert.match(fresh, /--set train\/ldlm\.pretrained=false/)
    assert.match(refused("no_align", "micro_batch_size=3"), /global_batch_size: .*: 4 is no multiple of 3/)
  })

  it("knows what was set of a parameter, beside where it stands", () => {
    const { set } = planned({ set: ["train.lr=1e-4", "train/cola.lr=2e-4"] }).get("train/cola")!
    assert.deepStrictEqual(set, [
      { path: ["lr"], text: "train.lr=1e-4" },
      { path: ["lr"], text: "train/cola.lr=2e-4" }
    ])
  })

  it("fetches as many rows as are cut, also where --set says how many", () => {
    const hub = "hf://datasets/org/name@main/x.parquet"
    const set = [
      "tokenize/corpus.documents=7",
      "tokenize/corpus.textKey=body",
      `download-documents/corpus.source=${hub}`
    ]
    const { parameters } = planned({ set }).get("download-documents/corpus")!
    assert.include(parameters as object, { rows: 7, textKey: "body" })
  })

  it("refuses a parameter that follows another and is set to something else", () => {
    const refused = (set: string) => rendered(() => planned({ set: [set] }))
    assert.match(
      refused("evaluate-texts/vfm.method=cola"),
      /evaluate-texts\/vfm\.method is cola, but the training's method is vfm/
    )
    assert.match(refused("benchmark.method=cola"), /benchmark\/no_align\.method is cola, .* is masked/)
    assert.match(
      refused("train/no_align.trajectory_mode=decoded"),
      /no_align\.trajectory_mode: a teacher decodes responses of its own alone/
    )
    assert.match(refused("trajectories.mode=lr"), /trajectories\/scheduled\.mode is lr, .* is scheduled/)
  })

  it("is planned under every profile", () => {
    // HumanEval's file does not ship: one of its kind stands for it.
    const functions = fileURLToPath(new URL("../../docs/examples/evaluate/functions.jsonl", import.meta.url))
    const set = [`download-documents/humaneval.source=file:${functions}`]
    for (const profile of Object.keys(compare.profiles))
      assert.isAbove(planned({ profile, ...(profile === "code" ? { set } : {}) }).size, 15)
  })

  it("names the flags that may bring a stage which is not there", async () => {
    const advice = /its stages: .*; there may be others with --quick, --controls, --ablations, --seeds, --sweep$/m
    assert.match(
      rendered(() => planned({ set: ["train/shuffled_teacher.lr=1"] })),
      advice
    )
    const only = { profile: undefined, set: [], only: ["train/shuffled_teacher"] }
    const refused = await Effect.runPromise(Effect.flip(planOf("compare-50x", only)))
    assert.match(render(refused), advice)
    const controls = { ...only, variant: { controls: true } }
    const found = await Effect.runPromise(planOf("compare-50x", controls))
    assert.include(
      found.nodes.map(({ label }) => label),
      "train/shuffled_teacher"
    )
  })

  it("says which stages are meant where one is named that is not there any more, or is misspelt", async () => {
    const refused = (set: string) => rendered(() => planned({ set: [set] }))
    assert.match(
      refused("evaluate.draws=5"),
      /has no stage evaluate\b[^]*did you mean evaluate-likelihood, evaluate-texts, evaluate-sort/
    )
    assert.match(refused("evaluate/vfm.draws=5"), /did you mean evaluate-likelihood\/vfm, evaluate-texts\/vfm, /)
    assert.match(refused("benchmrk.steps=[8]"), /did you mean benchmark\?/)
    assert.match(refused("train/no_algn.lr=1"), /did you mean train\/no_align\?/)
    const only = { profile: undefined, set: [], only: ["evaluate/vfm"] }
    const message = render(await Effect.runPromise(Effect.flip(planOf("compare-50x", only))))
    assert.match(message, /did you mean evaluate-likelihood\/vfm, /)
  })

  it("refuses flags that a pipeline does not take", () => {
    const message = rendered(() => evaluate(pretrain, { variant: { controls: true } }))
    assert.match(message, /pipeline pretrain-teacher does not take it/)
  })
})

describe("the rows", () => {
  const profile = config(ProfileConfig, "embedded")
  const decoded = (row: (typeof rows)[number], { data, train } = configOf(row, profile)) => ({
    data: Schema.decodeUnknownSync(RowConfig.fields.data)(data),
    train: Schema.decodeUnknownSync(RowConfig.fields.train)(train)
  })

  it("differ in their methods alone: the profile maps sizes", () => {
    const methods = /^(method|repr|align|subgoal|replay|trajectory|shuffle|pretrained|attention|cola|sampling)/
    const shared = ["lr", "labelledTokens", "seed", "weightDecay", "maxGradNorm", "evalEvery", "evalDraws"]
    // LDLM supervises every token, and is trained for a number of epochs of its own.
    const ofLdlm = new Set(shared).difference(new Set(["labelledTokens", "evalDraws"]))
    const [first, ...others] = [...rows, ...controls].map(row => decoded(row).train as { [field: string]: unknown })
    for (const other of others)
      for (const field of Object.keys(other)) {
        const compared =
          other["method"] === "ldlm"
            ? ofLdlm.has(field)
            : other["method"] === "vfm"
              ? shared.includes(field)
              : !methods.test(field)
        if (compared) assert.deepStrictEqual(other[field], first![field], field)
      }
    for (const field of shared) assert.isDefined(first![field], field)
    // What the profile replaces is no method.
    for (const field of Object.keys(profile.rows.train ?? {})) assert.notMatch(field.replaceAll("_", ""), methods)
  })

  it("read as many tokens in a step, and are trained on as many labels", () => {
    for (const { data, train } of [...rows, ...controls, ...ablations].map(row => decoded(row))) {
      const length = train.method === "ldlm" ? train.ldlm!.seqLen : data.maxSeqLen
      assert.strictEqual(train.globalBatchSize * length, 4 * 256)
      if (train.method === "ldlm") assert.isDefined(train.epochs)
      else assert.strictEqual(train.labelledTokens, decoded(rows[0]).train.labelledTokens)
    }
  })

  it("have ablations that change what they say, and nothing else", () => {
    const texts = new Set<string>()
    for (const ablation of ablations) {
      const row = rows.find(({ name }) => name === ablation.against)!
      const { method } = decoded(row).train
      const settings = (of: typeof row) => {
        const { train } = decoded(of) as { readonly train: { readonly [field: string]: unknown } }
        return { ...train, ...(train[method] as object | undefined), [method]: undefined } as typeof train
      }
      const [changed, plain] = [settings(ablation), settings(row)]
      const differing = Object.keys(changed).filter(
        field => JSON.stringify(changed[field]) !== JSON.stringify(plain[field])
      )
      const { over } = ablation
      assert.lengthOf(
        differing,
        Object.keys((over!.train[method] as object | undefined) ?? over!.train).length,
        ablation.name
      )
      texts.add(`${method} ${differing.map(field => `${field} ${String(changed[field])}`).join()}`)
    }
    assert.strictEqual(texts.size, ablations.length)
    assert.include([...planned({ variant: { ablations: true } }).keys()], "train/cola_x0")
  })

  it("may be trained with several seeds, the same in every row; the first is the row's own", () => {
    const nodes = planned({ variant: { seeds: 3 } })
    for (const { name } of rows) {
      const [a, b, c] = [name, `${name}-2`, `${name}-3`].map(
        run => JSON.parse(nodes.get(`train/${run}`)!.parametersText) as { readonly seed_offset: number }
      )
      assert.deepStrictEqual([a!.seed_offset, b!.seed_offset, c!.seed_offset], [0, 1, 2])
      assert.deepStrictEqual({ ...b, seed_offset: 0 }, a)
      assert.strictEqual(textOf(planned())[`train/${name}`], nodes.get(`train/${name}`)!.parametersText)
    }
    const { rows: reported } = JSON.parse(nodes.get("report-grid")!.parametersText) as {
      readonly rows: ReadonlyArray<{ readonly runs: ReadonlyArray<string> }>
    }
    // Another seed for all moves all of them.
    const moved = planned({ variant: { seeds: 2 }, set: ["train.seed=7"] })
    assert.notStrictEqual(moved.get("train/cola")!.parametersText, moved.get("train/cola-2")!.parametersText)
    assert.deepStrictEqual(reported.at(-1)!.runs, ["cola", "cola-2", "cola-3"])
  })

  it("are trained as often as the profile says, where the command does not say it", () => {
    const trainings = (...seeds: ReadonlyArray<string>) => {
      const given = Option.map(Arr.head(seeds), Number)
      const none = {
        quick: false,
        controls: false,
        ablations: false,
        sweep: [],
        family: Option.none(),
        config: Option.none()
      }
      const variant = variantOf({ ...none, seeds: given })
      return [...planned({ profile: "embedded-long", variant }).keys()].filter(label => label.startsWith("train/cola"))
    }
    assert.deepStrictEqual(trainings(), ["train/cola", "train/cola-2", "train/cola-3"])
    assert.deepStrictEqual(trainings("1"), ["train/cola"])
    assert.deepStrictEqual(trainings("2"), ["train/cola", "train/cola-2"])
  })

  it("have a first look, marked as one, where the profile knows less of everything", () => {
    const nodes = planned({ variant: { quick: true } })
    assert.deepStrictEqual([...nodes.keys()], [...planned().keys()])
    assert.match(nodes.get("report-grid")!.parametersText, /first look \(--quick\)/)
    assert.match(
      rendered(() => planned({ variant: { quick: true }, profile: "qwen3-1.7b" })),
      /--quick: the profile qwen3-1.7b has none/
    )
  })

  it("must say the same of model and data", () => {
    const [row] = rows
    const other = { ...configOf(row, profile), data: { ...configOf(row, profile).data, max_seq_len: 128 } }
    const message = rendered(() =>
      inCommon([
        [row, configOf(row, profile)],
        [row, other]
      ])
    )
    assert.match(message, /data\.max_seq_len is 128, in the first row 256/)
  })
})
