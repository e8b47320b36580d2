/** Measures held-out text under what diffusion models are compared with: the teacher, token by token, and the frequencies of the corpus's tokens. */
import { Effect, Schema } from "effect"
import { allSequences } from "../src/artifacts/sequences.ts"
import { makeEngine } from "../src/engines/make.ts"
import { bitsPerByte, makeCausalEvaluator } from "../src/evaluation/causal.ts"
import { trainNgram } from "../src/evaluation/ngram.ts"
import { type Reference, ReferencesResult } from "../src/evaluation/results.ts"
import { filesOf, loadModel } from "../src/models/artifact.ts"
import * as Stage from "../src/pipeline/Stage.ts"
import { asStageError, permanent } from "../src/pipeline/StageError.ts"
import { ModelFiles, References, TokenSequences } from "../src/artifacts/kinds.ts"
import { documentNats, evaluatedOf, heldOutFields, measuredText } from "./evaluate/heldOut.ts"
import { writeResult } from "./evaluate/writeResult.ts"

export const evaluateReferences = Stage.make("evaluate-references", {
  inputs: {
    /** The autoregressive model that the rows of a grid come from. */
    teacher: ModelFiles,
    heldOut: TokenSequences,
    /** What the rows are trained on. */
    corpus: TokenSequences
  },
  parameters: Schema.Struct(heldOutFields),
  outputs: { references: References },
  engine: true,
  resources: { cpus: 1, memoryMiB: 2048 },
  run: Effect.fn("evaluate-references")(
    function* ({ engine: numericClass, inputs, metric, outputs, parameters, progress, slots }) {
      const engine = yield* makeEngine(numericClass, { threads: slots.cpus })
      const teacher = yield* loadModel(engine, yield* filesOf(inputs.teacher))
      const documents = yield* measuredText(inputs.heldOut, parameters)
      const sequences = documents.flat().map(evaluatedOf)
      const shape = { rows: parameters.rows, length: inputs.heldOut.metadata.maxSeqLen }
      const { tokenizer } = teacher

      const causal = yield* makeCausalEvaluator(engine, teacher.config, teacher.parameters, {
        ...shape,
        pad: tokenizer.padId
      })
      const byTeacher = yield* causal.each(sequences, (done, total) =>
        progress({ done, total, unit: "rows", note: "teacher" })
      )
      const unigram = trainNgram(
        (yield* allSequences(inputs.corpus)).map(({ ids }) => ids),
        { order: 1, vocabSize: tokenizer.vocabSize }
      )
      const costs = Float64Array.from({ length: tokenizer.vocabSize }, (_, token) => -unigram.logProbability([], token))
      const byFrequency = sequences.map(({ ids, maskable }) => {
        const counted = ids.filter((_, i) => i > 0 && maskable[i] === 1)
        return { nats: counted.reduce((sum, token) => sum + costs[token]!, 0), tokens: counted.length }
      })
      const tokens = byFrequency.reduce((sum, each) => sum + each.tokens, 0)
      if (tokens === 0) return yield* permanent("the held-out sequences have no token that may be masked")
      const references: Array<Reference> = []
      for (const [model, found] of [
        ["teacher", byTeacher],
        ["unigram", byFrequency]
      ] as const) {
        const own = documentNats(documents, found, tokenizer)
        const nats = own.reduce((sum, document) => sum + document.nats, 0)
        const bytes = own.reduce((sum, document) => sum + document.bytes, 0)
        references.push({
          model,
          nats: nats / tokens,
          bitsPerByte: bitsPerByte({ nats, tokens }, bytes),
          documents: own
        })
        yield* metric(`eval/${model}_nll`, nats / tokens)
      }
      yield* writeResult(outputs.references, "references.json", ReferencesResult, { references })
      yield* outputs.references.metadata({ documents: documents.length, tokens })
    },
    Effect.scoped,
    Effect.mapError(asStageError)
  )
})
