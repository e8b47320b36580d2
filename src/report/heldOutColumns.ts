/** The columns of held-out text: means over its tokens, each with the interval that the choice of documents (and runs) leaves open. */
import type { DocumentNats, LikelihoodResult, LossAtRatio } from "../evaluation/results.ts"
import type { Part } from "../evaluation/parts.ts"
import { absent, type Column, type Figure, noBound, noLikelihood, type ReferenceLine, whyNoBound } from "./column.ts"
import { fixed, percent } from "./format.ts"
import type { GridRow } from "./rows.ts"
import { bootstrap, type Resampler, saysOfOthers } from "./statistics.ts"

/** What documents add to a mean; or why there is none. */
type Parts = ReadonlyArray<Part> | string

const perToken = (documents: ReadonlyArray<DocumentNats>): ReadonlyArray<Part> =>
  documents.map(({ nats, tokens }) => ({ sum: nats, weight: tokens }))

const bitsPerByte = (documents: ReadonlyArray<DocumentNats>): ReadonlyArray<Part> =>
  documents.map(({ bytes, nats }) => ({ sum: nats / Math.LN2, weight: bytes }))

/** Of runs their mean together. */
const figureOf = (runs: ReadonlyArray<Parts>, resampler: Resampler): Figure => {
  const parts: Array<ReadonlyArray<Part>> = []
  for (const run of runs) {
    if (typeof run === "string") return absent(run)
    parts.push(run)
  }
  const documents = parts[0]!.length
  if (documents === 0 || parts.some(run => run.length !== documents))
    return absent("it is not known document by document")
  const { high, low, value } = bootstrap(parts, resampler({ documents, runs: parts.length }))
  return saysOfOthers(parts[0]!) ? { value, low, high } : { value }
}

/** Footnotes of references. */
const exact = "exact, token by token: no bound"
const otherDocuments = "measured on other documents than the rows"

/** What the loss at a share of masks is; one footnote for bands of one width. */
const atRatio = ({ from, to }: LossAtRatio): string =>
  `mean loss of masked tokens, nats, of the bound's own draws that mask a share within ${Number(((to - from) / 2).toFixed(3))} of t; such bands cover all shares, and the mean over them is the bound`

export const heldOutColumns = (
  rows: ReadonlyArray<GridRow>,
  { baseline, resampler }: { readonly baseline: GridRow; readonly resampler: Resampler }
): ReadonlyArray<Column> => {
  const results = rows.flatMap(({ runs }) => runs.flatMap(({ likelihood }) => likelihood?.content ?? []))
  const column = (
    id: string,
    label: string,
    partsOf: (result: LikelihoodResult) => Parts,
    more: Partial<Column> = {}
  ): Column => ({
    id,
    group: "held-out text",
    label,
    format: fixed(3),
    figure: ({ runs }) =>
      figureOf(
        runs.map(({ likelihood }) => (likelihood === undefined ? noLikelihood : partsOf(likelihood.content))),
        resampler
      ),
    ...more
  })
  /** Columns that go by the bound. */
  const bounded = (...given: Parameters<typeof column>): Column => {
    const [id, label, partsOf, more] = given
    const own = column(id, label, result => (result.bound === undefined ? noBound : partsOf(result)), more)
    return {
      ...own,
      figure: row => {
        const why = whyNoBound(row)
        return why === undefined || row.runs.some(({ likelihood }) => likelihood === undefined)
          ? own.figure(row)
          : absent(why)
      }
    }
  }
  const measured = baseline.runs[0]!.likelihood?.content.documents ?? []
  /** A reference's own documents. */
  const ofReference =
    (partsOf: (documents: ReadonlyArray<DocumentNats>) => ReadonlyArray<Part>, note?: string) =>
    ({ likelihood }: ReferenceLine): Figure | undefined => {
      if (likelihood === undefined) return undefined
      const { documents } = likelihood
      const same =
        measured.length === 0 ||
        (documents.length === measured.length && documents.every(({ tokens }, d) => tokens === measured[d]!.tokens))
      const notes = [...(note === undefined ? [] : [note]), ...(same ? [] : [otherDocuments])]
      const figure = figureOf([partsOf(documents)], resampler)
      return "absent" in figure || notes.length === 0 ? figure : { ...figure, note: notes.join("; ") }
    }
  const ratios = new Map(results.flatMap(({ lossAtRatio }) => lossAtRatio.map(each => [each.ratio, each] as const)))
  return [
    bounded("bound", "bound, nats/token", ({ documents }) => perToken(documents), {
      reference: ofReference(perToken, exact)
    }),
    bounded("bitsPerByte", "bits/byte", ({ documents }) => bitsPerByte(documents), {
      reference: ofReference(bitsPerByte)
    }),
    ...[...ratios.values()]
      .sort((a, b) => a.ratio - b.ratio)
      .map(each =>
        bounded(
          `lossAtRatio.${each.ratio}`,
          `CE t=${each.ratio}`,
          ({ lossAtRatio }) =>
            lossAtRatio.find(({ ratio }) => ratio === each.ratio)?.documents ??
            `the loss at a share of ${each.ratio} masks was not measured`,
          { note: atRatio(each) }
        )
      ),
    column("autoregressiveLoss", "CE causal", ({ autoregressiveLoss }) => autoregressiveLoss.documents, {
      reference: line => (line.likelihood?.model === "teacher" ? ofReference(perToken)(line) : undefined)
    }),
    ...(results.some(({ teacherDistance }) => teacherDistance !== undefined)
      ? [
          column(
            "teacherDistance",
            "1 − cos, teacher",
            ({ bound, teacherDistance }) =>
              teacherDistance?.documents ??
              (bound === undefined
                ? "the method does not read masks with the language model"
                : "no teacher was given to compare with"),
            {
              note: "1 − cosine of the row's hidden states under masks, about half of the tokens masked, and the teacher's on the clean text, from left to right: mean over all layers, at the places that predict masked tokens"
            }
          )
        ]
      : []),
    // Shown where a row has an auto-encoder.
    ...(results.some(({ reconstruction }) => reconstruction !== undefined)
      ? (["loss", "accuracy"] as const).map(id =>
          column(
            `reconstruction.${id}`,
            id === "loss" ? "reconstruction CE" : "reconstructed",
            ({ reconstruction }) => reconstruction?.[id].documents ?? "nothing is encoded and read back",
            { format: id === "loss" ? fixed(3) : percent }
          )
        )
      : [])
  ]
}
