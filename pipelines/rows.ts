/** The rows of compare-50x: their names, and the configurations that make them what they are. */
import type { Array as Arr } from "effect"
import type { GridRow, Settings } from "./grid.ts"

/** The teacher is the row's own model, trained before by random masks, and what it answers is learnt in the order of its decoding. */
const ofItself = {
  trajectory_mode: "decoded",
  trajectory_teacher: "self",
  trajectory_response: "own",
  trajectory_entropy_weight: 0
} as const

/** The row that the others are compared with, if they name no other, is the first. */
export const rows: Arr.NonEmptyReadonlyArray<GridRow> = [
  { name: "no_align", label: "random masking", config: "compare_50x_no_align" },
  { name: "with_align", label: "+ alignment, 4 layers", config: "compare_50x_with_align" },
  { name: "with_align_all_layers", label: "+ alignment, all layers", config: "compare_50x_with_align_all_layers" },
  {
    name: "with_trajectory",
    label: "+ alignment, trajectories",
    config: "compare_50x_with_trajectory",
    against: "with_align",
    note: "the order in which the teacher, untrained as a diffusion model, would reveal the data (the seed's way)"
  },
  {
    name: "own_trajectories",
    label: "trajectories of its own",
    config: "compare_50x_no_align",
    note: "a model trained like random masking answers the prompts of the examples itself; its answers are learnt in the order in which it revealed them (d3LLM)",
    over: { train: ofItself }
  },
  {
    name: "ldlm",
    label: "LDLM",
    config: "compare_50x_ldlm",
    note: "latents are drawn by diffusion and decoded at once, so a forward pass is one of the denoiser"
  },
  {
    name: "vfm",
    label: "VFM",
    config: "compare_50x_vfm",
    note: "the bound is that of its masks with the adapter's noise"
  },
  {
    name: "cola",
    label: "Cola DLM",
    config: "compare_50x_cola",
    note: "the bound is that of its masks without the latents, which guide decoding alone"
  }
]

/** Rows that tell whether it is the method that works, beside those that they vary: asked for with --controls. */
export const controls: ReadonlyArray<GridRow> = [
  {
    name: "shuffled_teacher",
    label: "control: alignment, all layers, shuffled teacher",
    config: "compare_50x_with_align_all_layers",
    against: "with_align_all_layers",
    note: "each token is aligned with the teacher's states of a token of another document",
    over: { train: { shuffle_teacher: true } }
  },
  {
    name: "random_order",
    label: "control: alignment, trajectories in random order",
    config: "compare_50x_with_trajectory",
    against: "with_trajectory",
    note: "as many tokens are revealed in each step, in a random order",
    over: { train: { trajectory_mode: "random" } }
  },
  {
    name: "own_responses",
    label: "control: its own responses, random masks",
    config: "compare_50x_no_align",
    against: "own_trajectories",
    note: "what the row with trajectories of its own learns, without their order",
    over: { train: { ...ofItself, trajectory_mode: "none" } }
  },
  {
    name: "no_pretraining",
    label: "control: random masking, no pre-training",
    config: "compare_50x_no_align",
    note: "starts from fresh parameters of the same architecture",
    over: { train: { pretrained: false } }
  },
  {
    name: "block_causal",
    label: "control: random masking, block-causal attention",
    config: "compare_50x_no_align",
    note: "a token sees its own block of 32 tokens and earlier ones, in training and decoding alike",
    over: { train: { attention_block_size: 32 } }
  },
  {
    name: "bd3lm",
    label: "BD3-LM, blocks of 32 tokens",
    config: "compare_50x_no_align",
    against: "block_causal",
    note: "each block is learnt behind clean blocks, in a pass of both; the bound is that of the blocks behind clean ones",
    over: { train: { method: "bd3lm", attention_block_size: 32 } }
  }
]

/**
 * Rows with a part taken out, or with what the seed's code did in its place: asked for with --ablations. docs/trajectories.md, docs/ldlm.md, docs/vfm.md and docs/cola.md
 * say what each is about.
 */
export const ablations: ReadonlyArray<GridRow> = [
  ...switched("with_trajectory", "trajectories", settings => settings, {
    entropy: ["entropy of right predictions, weight 1", { trajectory_entropy_weight: 1 }],
    blocks: ["in blocks of 16 to 32 tokens", { trajectory_use_blockwise: true }]
  }),
  ...switched("ldlm", "LDLM", settings => ({ ldlm: settings }), {
    whole_warmup: ["warm-up scales the whole loss", { warmup_scales: "loss" }],
    batch_times: ["times learn from the batch's mean", { adaptive_losses: "batch" }],
    no_positions: ["no positions", { latent_positions: false, latent_start: "random" }],
    slow: ["networks learn as fast as a language model", { lr_factor: 1 }],
    random_start: ["latents and attention begin at random", { latent_start: "random" }],
    sudden_noise: ["full noise on decoded latents from the first step", { decoder_noise_warmup_steps: 0 }],
    unscaled: ["diffusion of latents as large as they are", { scaled_latents: false }],
    no_prompt: ["no prompt", { prompt_length: 0 }],
    tangent: ["tangent schedule", { noise_schedule: "tangent" }],
    no_self_conditioning: ["no self-conditioning", { self_conditioning: false }],
    no_decoder_noise: ["no noise on decoded latents", { decoder_noise_std: 0 }],
    ascending: ["drawn upwards", { sampler_direction: "ascending" }]
  }),
  ...switched("vfm", "VFM", settings => ({ vfm: settings }), {
    trained_base: ["the language model is trained, too", { freeze_base: false }],
    replacing: ["noise replaces all embeddings", { noise_input: "replacing" }],
    distances: ["distances to embeddings", { data_loss: "embedding" }],
    masked_targets: ["distances to the embeddings of masks", { data_loss: "embedding", targets: "masked" }],
    prefix: ["a beginning counts as visible", { observed: "prefix" }],
    no_shift: ["no token shift", { token_shift: false }],
    slow_adapter: ["the adapter learns as fast as a language model", { lr_factor: 1 }],
    pure_noise: ["pure noise in half of the documents", { alpha: 0.5 }],
    full_divergence: ["full divergence from the first step", { beta: 1 }],
    summed_kl: ["divergence summed over the width", { kl_scale: "sum" }]
  }),
  ...switched("cola", "Cola DLM", settings => settings, {
    no_vae: ["no auto-encoder", { cola_vae: false }],
    masked_source: ["latents of the masked text", { cola_source: "masked" }],
    flowing: ["diffusion reaches the encoder", { cola_stop_gradient: false }],
    coupled_tail: ["tail follows the noise", { cola_tail: "coupled" }],
    no_condition: ["diffusion knows no text", { cola_condition: false }],
    no_positions: ["no positions", { cola_positions: false, cola_latent_start: "random" }],
    random_start: ["latents and attention begin at random", { cola_latent_start: "random" }],
    slow_latents: ["latents learn as fast as the student", { cola_lr_factor: 1 }],
    sudden_divergence: ["full divergence from the first step", { cola_beta_warmup_steps: 0 }],
    block_causal: ["block_causal", { cola_variant: "block_causal" }],
    fast_block: ["fast_block", { cola_variant: "fast_block" }],
    x0: ["predicts clean latents", { cola_prediction: "x0" }]
  })
]

/** Rows like another, each with some of its settings changed. */
function switched(
  row: string,
  label: string,
  place: (settings: Settings) => Settings,
  changes: { readonly [name: string]: readonly [what: string, settings: Settings] }
): ReadonlyArray<GridRow> {
  const note = rows.find(({ name }) => name === row)?.note
  return Object.entries(changes).map(([name, [what, settings]]) => ({
    name: `${row}_${name}`,
    label: `${label}: ${what}`,
    config: `compare_50x_${row}`,
    against: row,
    ...(note === undefined ? {} : { note }),
    over: { train: place(settings) }
  }))
}
