/** The data of a comparison: what its rows are trained on, what they are measured on, and what they are asked. */
import type { TokenSequences } from "../src/artifacts/kinds.ts"
import type { Corpus, ProfileConfig } from "../src/config/profile.ts"
import type { RowConfig } from "../src/methods/configuration.ts"
import type { Ref } from "../src/pipeline/Artifact.ts"
import { ConfigError } from "../src/pipeline/ConfigError.ts"
import { downloadDocuments, downloadTokenizer } from "../stages/download.ts"
import { makeProblemSet } from "../stages/make-problems.ts"
import { tokenize } from "../stages/tokenize.ts"
import { given } from "./given.ts"
import { mustBeThere } from "./suites.ts"
import { tasks } from "./tasks.ts"

type RowData = (typeof RowConfig)["Encoded"]["data"]

export const dataOf = (profile: ProfileConfig["data"], data: RowData) => {
  const tokenizer = downloadTokenizer(profile.tokenizer)
  const cutting = (name: string, { dataType, documents, textKey }: Omit<Corpus, "source">) => ({
    name,
    maxSeqLen: data.max_seq_len,
    ...given({
      dataType,
      documents,
      textKey,
      chatTemplate: data.chat_template,
      longResponses: data.long_responses
    })
  })

  const tokenized = (name: string, corpus: Corpus): Ref<typeof TokenSequences> => {
    const { dataType: _type, documents: _first, textKey: _key, ...from } = corpus
    const cut = cutting(name, corpus)
    // What is read is what will be cut, also where --set says it.
    const { documents, ...read } = tokenize.settings(cut)
    const fetched = { name, ...from, ...given({ dataType: read.dataType, textKey: read.textKey }) }
    // Of a large Parquet file only the rows that are wanted are fetched.
    const rows = downloadDocuments.settings(fetched).source.endsWith(".parquet") ? documents : undefined
    return tokenize({ ...cut, corpus: downloadDocuments({ ...fetched, ...given({ rows }) }), tokenizer })
  }

  const examplesOf = (examples: NonNullable<ProfileConfig["data"]["examples"]>): Ref<typeof TokenSequences> => {
    const name = "examples"
    if ("source" in examples) return tokenized(name, examples)
    const corpus = makeProblemSet({ name, ...examples.problems } as Parameters<typeof makeProblemSet>[0])
    return tokenize({ ...cutting(name, { dataType: "prompt_response" }), corpus, tokenizer })
  }

  return {
    corpus: tokenized("corpus", {
      source: data.train_path,
      ...given({ documents: data.train_size, dataType: data.data_type, textKey: data.text_keys })
    }),
    /** What is trained on beside the corpus. */
    examples: profile.examples === undefined ? undefined : examplesOf(profile.examples),
    heldOut: tokenized("held-out", profile.heldOut),
    /** The tasks: their names, what asks them, and their problems. */
    asked: Object.entries(profile.tasks ?? {}).map(([name, from]) => {
      const ask = taskNamed(name)
      const fetched = { name, ...from, dataType: "fields" } as const
      if (typeof ask === "string")
        mustBeThere(ask, downloadDocuments.settings(fetched).source, fault => {
          const advice = `${fault.advice}; --set download-documents/${name}.source=file:PATH names it where it lies elsewhere`
          return new ConfigError({ at: `data.tasks.${name}.source`, message: fault.message, advice })
        })
      return { name, ask, dataset: downloadDocuments(fetched) }
    })
  }
}

/** The stage that asks a task. */
const taskNamed = (name: string) => {
  if (Object.hasOwn(tasks, name)) return tasks[name]!
  const advice = `the tasks: ${Object.keys(tasks).join(", ")}`
  throw new ConfigError({ at: `data.tasks.${name}`, message: "there is no such task", advice })
}
