/** What a machine lacks of a bill, said before anything is fetched or computed: each thing as it was found and as it is needed. */
import { Result } from "effect"
import { parseSource } from "../hub/source.ts"
import { type Bill, type BillSource, type Term, total } from "../pipeline/Bill.ts"
import { greatest } from "../pipeline/lists.ts"
import { bytes } from "../pipeline/units.ts"

export interface Gpu {
  readonly name: string
  readonly bytes: number
}

/** A Python interpreter as the engine `torch` would start it. */
export type Torch = { readonly version: string; readonly gpus: ReadonlyArray<Gpu> } | { readonly missing: string }

/** What a machine was found to have. What is undefined could not be found out. */
export interface Found {
  /** The engine that was asked for. */
  readonly engine: string
  readonly torch: Torch | undefined
  /** Where the cache lies. */
  readonly disk: { readonly path: string; readonly free: number } | undefined
  /** Bytes that the cache holds of the last result of a label. */
  readonly held: (label: string) => number
  readonly memory: { readonly total: number; readonly free: number } | undefined
  readonly gpus: ReadonlyArray<Gpu> | undefined
  /** Whether there is one for the hub. */
  readonly token: boolean | undefined
}

/** `warning` and `unknown` keep nothing from starting. */
export type Verdict = "ok" | "lacking" | "warning" | "unknown"

export interface Line {
  readonly name: string
  readonly found: string
  readonly needed: string
  readonly verdict: Verdict
  /** What to do; given unless all is well. */
  readonly advice?: string
}

const unknown = "could not be found out"

/** All that the bill needs, whether it is there or not. */
export const check = (bill: Bill, found: Found): ReadonlyArray<Line> => [
  ...(bill.engine === undefined ? [] : engine(bill.engine, found)),
  ...disk(bill, found),
  ...memory(bill, found),
  ...gpuMemory(bill, found),
  ...token(bill, found),
  ...revisions(bill)
]

export const lacks = (lines: ReadonlyArray<Line>): boolean => lines.some(({ verdict }) => verdict === "lacking")

const engine = (needed: string, { engine: asked, torch }: Found): ReadonlyArray<Line> => {
  const right: Line =
    asked === needed
      ? { name: "engine", found: asked, needed, verdict: "ok" }
      : { name: "engine", found: asked, needed, verdict: "lacking", advice: `add --engine ${needed}` }
  if (needed !== "torch") return [right]
  const interpreter = { name: "PyTorch", needed: "a Python that has it" }
  if (torch === undefined)
    return [right, { ...interpreter, found: unknown, verdict: "unknown", advice: "see `pipeline doctor`" }]
  if ("missing" in torch)
    return [
      right,
      {
        ...interpreter,
        found: torch.missing,
        verdict: "lacking",
        advice: "install PyTorch, and name the interpreter with --python or PIPELINE_TORCH_PYTHON"
      }
    ]
  return [right, { ...interpreter, found: torch.version, verdict: "ok" }]
}

/** What is to be kept, without what the cache holds of it. */
const missing = (terms: ReadonlyArray<Term>, held: Found["held"]): number => {
  const labels = new Set(terms.flatMap(({ by }) => (by === undefined ? [] : [by])))
  const of = (label: string | undefined): number => total(terms.filter(({ by }) => by === label))
  return [...labels].reduce((sum, label) => sum + Math.max(0, of(label) - held(label)), of(undefined))
}

const disk = ({ keep }: Bill, { disk: place, held }: Found): ReadonlyArray<Line> => {
  const bytesNeeded = missing(keep, held)
  const line = { name: "disk", needed: bytes(bytesNeeded) }
  if (place === undefined) return [{ ...line, found: unknown, verdict: "unknown", advice: "see `pipeline doctor`" }]
  const found = `${bytes(place.free)} free at ${place.path}`
  return place.free >= bytesNeeded
    ? [{ ...line, found, verdict: "ok" }]
    : [
        {
          ...line,
          found,
          verdict: "lacking",
          advice: "make room (`pipeline gc` helps), or put the cache elsewhere with --cache or PIPELINE_CACHE"
        }
      ]
}

const memory = (bill: Bill, { memory: own }: Found): ReadonlyArray<Line> => {
  const bytesNeeded = total(bill.memory)
  if (bytesNeeded === 0) return []
  const line = { name: "memory", needed: bytes(bytesNeeded) }
  if (own === undefined) return [{ ...line, found: unknown, verdict: "unknown", advice: "see `pipeline doctor`" }]
  const found = `${bytes(own.total)}, ${bytes(own.free)} of it free`
  if (own.total < bytesNeeded)
    return [{ ...line, found, verdict: "lacking", advice: "run it on a machine that has more" }]
  return own.free < bytesNeeded
    ? [{ ...line, found, verdict: "warning", advice: "end other programs, or actions may be killed for memory" }]
    : [{ ...line, found, verdict: "ok" }]
}

/** A training is on one GPU: the largest counts. */
const gpuMemory = (bill: Bill, { gpus, torch }: Found): ReadonlyArray<Line> => {
  const bytesNeeded = total(bill.gpuMemory)
  if (bytesNeeded === 0) return []
  const line = { name: "GPU memory", needed: bytes(bytesNeeded) }
  if (gpus === undefined)
    return [{ ...line, found: unknown, verdict: "unknown", advice: "check the driver: `nvidia-smi` should list GPUs" }]
  if (gpus.length === 0)
    return [
      {
        ...line,
        found: "no GPU",
        verdict: "lacking",
        advice: "run it on a machine with such a GPU, or name it with --gpus"
      }
    ]
  const most = greatest(gpus.map(gpu => gpu.bytes))
  const found = `${bytes(most)} on ${gpus.find(gpu => gpu.bytes === most)!.name}`
  if (most < bytesNeeded)
    return [
      {
        ...line,
        found,
        verdict: "lacking",
        advice: "take a larger GPU, or shorter rows (--set tokenize.maxSeqLen=…); docs/hardware.md has the formula"
      }
    ]
  return torch !== undefined && "gpus" in torch && torch.gpus.length === 0
    ? [
        {
          ...line,
          found: `${found}, which PyTorch does not see`,
          verdict: "lacking",
          advice: "install a PyTorch for CUDA"
        }
      ]
    : [{ ...line, found, verdict: "ok" }]
}

const token = ({ sources }: Bill, { token: given }: Found): ReadonlyArray<Line> => {
  const gated = sources.filter(source => source.gated).map(({ source }) => source)
  const found = given === undefined ? unknown : given ? "set" : "none"
  const line = { name: "hub token", found, needed: gated.length === 0 ? "not needed" : `for ${gated.join(", ")}` }
  if (gated.length === 0 || given === true) return [{ ...line, verdict: "ok" }]
  const advice = "accept the licence on the page of the repository, and set HF_TOKEN"
  return [{ ...line, verdict: given === undefined ? "unknown" : "lacking", advice }]
}

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision)

/** A repository is named once, with all that fetch from it. */
const revisions = ({ sources }: Bill): ReadonlyArray<Line> => {
  const byRepository = new Map<string, { revision: string; sources: Array<BillSource> }>()
  for (const each of sources) {
    const source = Result.getOrUndefined(parseSource(each.source))
    if (source?._tag !== "Hub") continue
    const key = `${source.type}/${source.repo}@${source.revision}`
    const known = byRepository.get(key)
    if (known === undefined) byRepository.set(key, { revision: source.revision, sources: [each] })
    else known.sources.push(each)
  }
  return Array.from(byRepository, ([name, { revision, sources: from }]): Line => {
    const line = { name: "revision", found: name, needed: "a commit" }
    if (isCommit(revision)) return { ...line, verdict: "ok" }
    const pinned = from.map(({ label, source }) => `--set ${label}.source=${source.replace(`@${revision}`, "@COMMIT")}`)
    return { ...line, verdict: "warning", advice: `"${revision}" may move; pin it with ${pinned.join(" ")}` }
  })
}
