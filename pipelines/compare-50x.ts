/** The comparison grid: one teacher start, the same documents, the same order of tokens for every row. */
import { ProfileConfig } from "../src/data/profile.ts"
import * as Pipeline from "../src/pipeline/Pipeline.ts"
import { downloadDocuments, downloadTokenizer } from "../stages/download.ts"
import { reportData } from "../stages/report-data.ts"
import { tokenize } from "../stages/tokenize.ts"
import { config } from "./config.ts"

export default Pipeline.make(
  "compare-50x",
  {
    description:
      "The seven-configuration comparison grid on 50 documents (so far its data: corpus, held-out set, sequences)",
    profiles: {
      embedded: {
        description: "50 public-domain documents and a 2,048-entry tokenizer that ship with the program",
        needs: "nothing",
        make: () => config(ProfileConfig, "embedded")
      },
      "qwen3-1.7b": {
        description: "50 FineWeb documents and the tokenizer of Qwen3-1.7B",
        needs: "the hub (about 20 MB)",
        make: () => config(ProfileConfig, "qwen3-1.7b")
      }
    }
  },
  ({ profile: { data } }) => {
    const tokenizer = downloadTokenizer(data.tokenizer)

    const sequences = (name: string, source: ProfileConfig["data"]["corpus"]) =>
      tokenize({
        name,
        corpus: downloadDocuments({ name, ...source }),
        tokenizer,
        maxSeqLen: data.maxSeqLen,
        ...(source.dataType === undefined ? {} : { dataType: source.dataType }),
        ...(source.textKey === undefined ? {} : { textKey: source.textKey }),
        ...(data.chatTemplate === undefined ? {} : { chatTemplate: data.chatTemplate })
      })

    return reportData({
      title: "compare-50x: data",
      sequences: {
        corpus: sequences("corpus", data.corpus),
        "held-out": sequences("held-out", data.heldOut),
        ...(data.reasoning === undefined ? {} : { reasoning: sequences("reasoning", data.reasoning) })
      }
    })
  }
)
