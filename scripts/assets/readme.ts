/** The page that tells what is shipped; its numbers are those of the files beside it. */
import type { Measured, Overlap } from "./build.ts"
import type { Lengths } from "./documents.ts"
import { type PinnedPackage, textPackages } from "../../src/corpora/packages.ts"
import { solverPackages } from "./solver.ts"
import type { SourceDocument } from "../../src/corpora/sources.ts"
import { families, type MadeProblem, makeProblems, ranges, seed } from "../../src/corpora/problems.ts"
import { shares } from "./split.ts"

const number = (value: number): string => value.toLocaleString("en-US")

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const lengthCells = ({ least, median, most, total }: Lengths): ReadonlyArray<string> =>
  [least, median, most, total].map(number)

const named = ({ name, version }: PinnedPackage): string => `\`${name}\` ${version}`

export const readme = (facts: {
  readonly measured: Readonly<Record<"web50" | "heldout" | "prompts" | "responses", Measured>>
  readonly totals: { readonly texts: number; readonly bytes: number; readonly tokens: number }
  readonly contamination: Readonly<Record<string, Overlap>>
  readonly pretrain: ReadonlyArray<SourceDocument>
  readonly equations: number
}): string => {
  const { contamination, measured, pretrain, totals } = facts
  const inPretrain = (source: string) => pretrain.filter(document => document.source === source)
  const bytesOf = (source: string) => inPretrain(source).reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
  return `# What ships with the program

The \`embedded\` profile runs without a network: its texts, its tokenizer and its teacher are here.
\`node scripts/assets/make.ts\` makes everything except the teacher. It fetches the source packages in
fixed versions, checks their SHA-256 and gives the same bytes on every machine. \`--check\` compares
instead of writing, \`--from DIR\` takes the packages' tarballs from a directory, and
\`--pretrain-text FILE\` also writes the pre-training text, which is not shipped, as JSON Lines. The
same script writes this page.

\`index.json\` lists the artifacts with the SHA-256 and the size of each file. The terms of each
source are in \`licences/\`.

| artifact | what | made from |
| --- | --- | --- |
| \`web50\` | 50 documents that the comparison grid trains on | ${shares.sotu.web50} State of the Union addresses, ${shares.factbook.web50} country profiles, ${shares["moby-dick"].web50} chapters of a novel |
| \`heldout\` | 50 documents for evaluation | ${shares.sotu.heldout} + ${shares.factbook.heldout} + ${shares["moby-dick"].heldout} of the same kinds, and ${shares.kjv.heldout} chapters of the Bible as text out of domain |
| \`reason500\` | 500 equations with step-by-step solutions | made at random, solved by ${named(solverPackages[0] as PinnedPackage)} |
| \`chain\`, \`sort\`, \`order\`, \`sudoku\`, \`solve\`, \`fill\` | 400 held-out problems each, of the tasks of these names | made at random by \`src/corpora/problems.ts\` |
| \`conversion\` | 2,000 other problems of each task, in turns | the same |
| \`problems\` | the first 40 held-out problems of each task, in turns | the same |
| \`tokenizer\` | byte-level BPE of 2,048 tokens | trained on the pre-training text and ${number(facts.equations)} equations like those of reason500 |
| \`pretrain\` | the list that pins the teacher's pre-training text | the sources of web50 without every document that web50 or heldout quotes |
| \`teacher\`, \`teacher-evaluation\` | causal model of 3.6 M parameters, and its perplexity | trained by \`pipeline run pretrain-teacher\`, taken over by \`node scripts/assets/teacher.ts\`; record in \`teacher/training.json\`, figures in \`teacher-evaluation/report.md\` |
| \`teacher-hybrid\`, \`teacher-hybrid-evaluation\` | causal model of 1.0 M parameters with Gated DeltaNets, and its perplexity | the same, with \`--family hybrid\` |

## Sources

| source | package | terms |
| --- | --- | --- |
| State of the Union addresses, 1790-2021 | ${named(textPackages.sotu)} | contents CC0 1.0, works of the US Government; \`licences/sotu.txt\` |
| The World Factbook, 2015 | ${named(textPackages.factbook)} | public domain; \`licences/factbook.txt\` |
| Moby-Dick, 1851 | ${named(textPackages["moby-dick"])} | contents CC0 1.0, public domain; \`licences/moby-dick.txt\` |
| the Bible, King James Version, 1769 | ${named(textPackages.kjv)} | public domain outside the United Kingdom; \`licences/kjv.txt\` |
| steps of the solutions | ${named(solverPackages[0] as PinnedPackage)} | Apache-2.0; \`licences/mathsteps.txt\` |

This is not text from the web, although its lengths are distributed similarly: it is old, formal and
in English, and country profiles are lists more than prose. Expect numbers on it to be comparable
with each other, but not with anything published.

## Lengths

The table gives lengths in bytes of UTF-8, in tokens of the shipped tokenizer and in tokens of
Qwen3's, without the end-of-text token.

| | unit | least | median | most | total |
| --- | --- | ---: | ---: | ---: | ---: |
${(["web50", "heldout", "prompts", "responses"] as const)
  .flatMap(name => {
    const title = {
      web50: "web50",
      heldout: "heldout",
      prompts: "reason500, prompts",
      responses: "reason500, responses"
    }[name]
    return [
      row([title, "bytes", ...lengthCells(measured[name].bytes)]),
      row(["", "tokens", ...lengthCells(measured[name].tokens)]),
      row(["", "Qwen3 tokens", ...lengthCells(measured[name].qwen3Tokens)])
    ]
  })
  .join("\n")}

The responses with reasoning are short. Sets distilled from large models have responses of 2,000 to
4,000 tokens; results on \`reason500\` do not say how a method does on those.

## web50 and heldout

\`documents.jsonl\`: \`{"id", "text", "source", "from"}\`; readers need \`text\`. Documents are chosen
evenly over the years, the regions and the chapters, and cut where the text pauses: at sentences,
paragraphs or fields. Lengths are drawn evenly on a logarithmic scale. \`from\` gives package,
version, file, the file's SHA-256 and the range in UTF-8 bytes of the file's plain text. A document
that either set quotes is used nowhere else: not in the other set, and no part of it in the
pre-training text.

Word-for-word overlap, the share of a text's runs of 13 words that occur in the other texts:

| | mean | most in one text | texts with any |
| --- | ---: | ---: | ---: |
${Object.entries(contamination)
  .map(([name, { mean, most, texts }]) => row([name, percent(mean), percent(most), String(texts)]))
  .join("\n")}

The documents share formulas of address, lists of treaties and figures; no excerpt with more than 10
% was taken.

## reason500

\`problems.jsonl\`: \`{"idx", "prompt", "response", "answer", "messages"}\`. There are nine kinds of
linear equations, from one step to brackets and fractions on both sides. The prompt ends in a line
break, so that prompt and response can be joined directly; \`messages\` holds the same as a
conversation. \`answer\` is the value of the unknown as a whole number or a fraction. Every equation
in every step was checked by putting the answer in for the unknown, in exact fractions. The checking
program shares nothing with the solver: \`src/evaluation/tasks/equations.ts\`, which also judges the
answers of models. No two equations differ only in signs and in the name of the unknown.

## Problems of the tasks

\`problems.jsonl\`: \`{"prompt", "response"}\`, in \`conversion\` and \`problems\` with the name of the
task. A response begins with the blank between the two. Every value of an answer follows from a few
values that stand close by, so that a small model can learn it.

| task | prompt | right answer |
| --- | --- | --- |
${families
  .map(family => {
    const [{ prompt, response }] = makeProblems(family, { ...ranges.heldOut, count: 1, seed }) as [MadeProblem]
    return row([`\`${family}\``, `\`${prompt}\``, `\`${response.trim()}\``])
  })
  .join("\n")}

Sums are modulo 10. In \`order\`, both directions are right. In \`fill\`, each value follows from the
one behind it, so that reading order is the wrong order. The three sets of a task (held out, for
conversion, and the teacher's own, which is made when it is trained) share no problem: no two
problems sort the same set of letters, no two Sudokus differ only in the names of the digits, and no
two equations only in the name of the unknown. Answers are judged by \`src/evaluation/tasks\`, which
shares nothing with the code that makes them. All are by this project and in the public domain (CC0
1.0).

## tokenizer

\`tokenizer.json\` in the Hugging Face format: 256 bytes, 1,788 merges, then four special tokens, so
that embedding and head have 2,048 rows.

| id | token | use |
| ---: | --- | --- |
| 2044 | \`<\\|endoftext\\|>\` | end of a text, and padding |
| 2045, 2046 | \`<\\|im_start\\|>\`, \`<\\|im_end\\|>\` | turns of a conversation in the \`chatml\` template |
| 2047 | \`<M>\` | the mask of diffusion |

The mask is one of the 2,048 tokens, so that no embedding has to grow when a model is converted; the
pre-trained teacher never sees it. Tokenizers without a mask get \`<M>\` when they are loaded, with
the first free id (Qwen3: 151669). Text is split into words as in GPT-2: a run of digits is one
word, and may be one token.

## pretrain

\`pins.json\` names ${number(totals.texts)} texts of ${number(totals.bytes)} bytes, ${number(totals.tokens)} tokens: ${number(inPretrain("sotu").length)} addresses (${number(bytesOf("sotu"))} bytes),
${number(inPretrain("factbook").length)} country profiles (${number(bytesOf("factbook"))}), ${number(inPretrain("moby-dick").length)} chapters (${number(bytesOf("moby-dick"))}).
For each it has the file and its SHA-256, and the length and the SHA-256 of the plain text. The packages are pinned by the SHA-256 and the integrity string of their tarballs.
`
}
