/** Trajectory-guided QLoRA of a hybrid model on reasoning data (d3LLM): an adapter that makes it a diffusion model, beside one that learnt by random masks. */
import { ProfileConfig } from "../src/config/profile.ts"
import { comparison } from "./comparison.ts"
import { config } from "./config.ts"

const recipe = "d3llm_27b_reasoning"

export default comparison("d3llm-27b", {
  description: "Trajectory-guided QLoRA of a hybrid model on reasoning data, to an adapter for PEFT",
  rows: [
    {
      name: "random_masking",
      label: "random masking",
      config: recipe,
      over: { train: { trajectory_mode: "none" } }
    },
    { name: "trajectories", label: "trajectories", config: recipe }
  ],
  profiles: {
    embedded: {
      description: "a hybrid teacher of 1.0 M parameters and problems of five kinds; all that ships with the program",
      needs: "nothing; about 3 minutes on two cores",
      make: () => config(ProfileConfig, "d3llm_27b_embedded")
    }
  }
})
