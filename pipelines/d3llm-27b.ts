/** Trajectory-guided QLoRA of a hybrid model on reasoning data (d3LLM): an adapter that makes it a diffusion model, beside one that learnt by random masks. */
import { ProfileConfig } from "../src/config/profile.ts"
import * as Origin from "../src/pipeline/Origin.ts"
import { qloraBill } from "./bill.ts"
import { comparison, modelSource } from "./comparison.ts"
import { config, readRow } from "./config.ts"

const recipe = "d3llm_27b_reasoning"
const large = () => config(ProfileConfig, "qwen3.6-27b")
/** The large profile, with all of another recipe laid on that of the rows. */
const byRecipe = (name: string) => Origin.overlay(large(), { rows: readRow(name) })

/** The teacher is the row itself, trained before by random masks, and its own responses are learnt. */
const ofItself = { trajectory_teacher: "self", trajectory_response: "own" }

/** Weights of the released 27B checkpoint for images and for predicting several tokens: fetched, and passed over. */
const passedOver = 1.77e9
const on27B = {
  needs: "the hub (56 GB), 85 GB of disk, a GPU with 48 GB and --engine torch; see docs/hardware.md",
  bill: qloraBill({ model: "qwen3.6-27b", passedOver })
}

export default comparison("d3llm-27b", {
  description: "Trajectory-guided QLoRA of a hybrid model on reasoning data, to an adapter for PEFT",
  rows: [
    {
      name: "random_masking",
      label: "random masking",
      config: recipe,
      untaught: true
    },
    { name: "trajectories", label: "trajectories", config: recipe }
  ],
  controls: [
    {
      name: "random_order",
      label: "control: trajectories in random order",
      config: recipe,
      against: "trajectories",
      note: "as many tokens are revealed in each step, in a random order",
      over: { train: { trajectory_mode: "random" } }
    },
    {
      name: "own_responses",
      label: "control: own responses, random masks",
      config: recipe,
      note: "the teacher is a model trained like random masking; its own responses are learnt",
      over: { train: { trajectory_mode: "none", ...ofItself } }
    },
    {
      name: "own_trajectories",
      label: "control: own responses, in the order of their decoding",
      config: recipe,
      against: "own_responses",
      note: "the recipe of the d3LLM paper: the same responses, masked as its teacher revealed them",
      over: { train: { trajectory_mode: "decoded", ...ofItself } }
    }
  ],
  profiles: {
    embedded: {
      description: "a hybrid teacher of 1.0 M parameters and problems of five kinds; all that ships with the program",
      needs: "nothing; 3 to 4 minutes on two cores",
      make: () => config(ProfileConfig, "d3llm_27b_embedded")
    },
    "qwen3.6-27b": {
      description: "Qwen3.6-27B and 500 problems of GSM8K, rows of 512 tokens, adapters of rank 4",
      ...on27B,
      make: large
    },
    "qwen3.6-27b-4k": {
      description: "the same with 1,000 problems, rows of 4,096 tokens, adapters of rank 16",
      ...on27B,
      make: () => byRecipe("d3llm_27b_4k")
    },
    "qwen3.6-27b-100-traj": {
      description: "the same with 100 problems, ten times each, adapters of rank 16, short blocks",
      ...on27B,
      make: () => byRecipe("d3llm_27b_100_traj")
    },
    "qwen3.6-35b-a3b": {
      description: "Qwen3.6-35B-A3B and 500 problems of GSM8K: its experts are not quantised",
      needs:
        "the hub (70 GB), 140 GB of disk, a GPU with 144 GB (205 GB with --precision bf16) and --engine torch; see docs/hardware.md",
      bill: qloraBill({ model: "qwen3.6-35b-a3b" }),
      make: () => {
        const model_path = "Qwen/Qwen3.6-35B-A3B"
        const profile = large()
        const data = Origin.overlay(profile.data, { tokenizer: { source: modelSource(model_path) } })
        return Origin.overlay(profile, { data, rows: { model: { model_path } } })
      }
    }
  }
})
