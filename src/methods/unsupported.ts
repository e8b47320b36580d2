/**
 * Fields of the field's configurations that this program does not take, each with the reason and what there is instead. Whoever brings a file of theirs
 * along is told, instead of finding out from the results. Only planning reads this: it is no part of a training's code.
 */

const engine = "what computes is chosen on the command line (--engine), not in the configuration"
const packed = "rows are always packed, and documents of a row do not see each other"
const slots = "processes and devices are the runner's (--jobs, --gpus); results do not depend on them"
const checkpoints = "checkpoints are written by time, and a training that was cut off goes on by itself"
const tracking =
  "metrics are in the ledger (pipeline metrics), in metrics.jsonl, and in TensorBoard files of the output `log`"
const memory = "memory is the engine's affair; enable_gradient_checkpointing trades time for it"
const anchors =
  "anchors are made by the stage `anchor` and handed over as an artifact; the weight alone turns alignment on"

export const unsupportedModel = {
  config_path: "the configuration is read from model_path",
  tokenizer_path: "the tokenizer is the profile's (data.tokenizer)",
  attn_implementation: engine,
  moe_implementation: engine,
  basic_modules: slots,
  qlorafy_config: {
    bias: "biases stay as they are",
    modules_to_save: "beside adapters only the mask's row of the embedding is trained (train_mask)",
    use_hf_native: "target_modules names the linear maps of any family; auto means all of them",
    gradient_checkpointing: "write train.enable_gradient_checkpointing",
    resume_adapter_path: "write model.adapter_path",
    bnb_4bit_compute_dtype: engine
  },
  enable_nvfp4_qat: "training in NVFP4 is not implemented",
  ldlm: "write this group below `train`, with train.method: ldlm",
  vfm: "write this group below `train`, with train.method: vfm",
  encoders: "models of several modalities are not implemented",
  decoders: "models of several modalities are not implemented"
} as const

export const unsupportedData = {
  datasets_type: "corpora are read whole and cut by the stage `tokenize`",
  dataloader_type: "corpora are read whole and cut by the stage `tokenize`",
  num_workers: slots,
  prefetch_factor: slots,
  drop_last: "rows that fill no step are left out, in every epoch others",
  pin_memory: memory
} as const

export const unsupportedTrain = {
  cola_log_hist_every: "histograms are not kept; losses of the latents are in the log",
  output_dir: "results lie in the cache; `pipeline export DIGEST --to files -o DIR` copies them",
  optimizer: "the optimiser is AdamW with f32 moments",
  rmpad: packed,
  rmpad_with_pos_ids: packed,
  dyn_bsz: packed,
  dyn_bsz_margin: packed,
  dyn_bsz_buffer_size: packed,
  bsz_warmup_ratio: "every step has global_batch_size rows",
  bsz_warmup_init_mbtoken: "every step has global_batch_size rows",
  enable_masking: "the stage `train` always trains by masked diffusion; `pretrain` trains without",
  anchor_cache_dir: anchors,
  trajectory_data_path: "trajectories are made by the stage `trajectories`; trajectory_mode chooses their kind",
  quantize_frozen: "frozen weights are not quantised; freeze_layers alone saves gradients and moments",
  enable_mixed_precision: "the precision belongs to the engine; the CPU computes in f32",
  enable_reentrant: memory,
  enable_full_shard: slots,
  enable_forward_prefetch: slots,
  enable_fsdp_offload: memory,
  enable_activation_offload: memory,
  activation_gpu_limit: memory,
  init_device: engine,
  enable_full_determinism: "training is always deterministic",
  enable_manual_eager: engine,
  empty_cache_steps: memory,
  data_parallel_mode: slots,
  ds_zero_stage: "DeepSpeed is not used",
  ds_offload_optimizer: "DeepSpeed is not used",
  ds_offload_param: "DeepSpeed is not used",
  ds_nvme_path: "DeepSpeed is not used",
  ds_overlap_comm: "DeepSpeed is not used",
  ds_contiguous_gradients: "DeepSpeed is not used",
  ds_config_path: "DeepSpeed is not used",
  tensor_parallel_size: slots,
  expert_parallel_size: slots,
  pipeline_parallel_size: slots,
  ulysses_parallel_size: slots,
  context_parallel_size: slots,
  ckpt_manager: checkpoints,
  load_checkpoint_path: checkpoints,
  auto_resume: checkpoints,
  save_steps: checkpoints,
  save_epochs: checkpoints,
  save_time_interval_minutes: checkpoints,
  save_total_limit: checkpoints,
  save_hf_weights: "the trained weights are always saved, in Hugging Face layout",
  save_optimizer_state: checkpoints,
  mtp_num_layers: "heads for several tokens are not implemented",
  mtp_loss_weight: "heads for several tokens are not implemented",
  mtp_n_predict: "heads for several tokens are not implemented",
  use_wandb: tracking,
  wandb_project: tracking,
  wandb_name: tracking,
  wandb_entity: tracking,
  enable_profiling: engine,
  profile_start_step: engine,
  profile_end_step: engine,
  profile_trace_dir: engine,
  profile_record_shapes: engine,
  profile_profile_memory: engine,
  profile_with_stack: engine,
  ldlm: {
    enabled: "train.method: ldlm turns it on",
    encoder_model_name: "the frozen model is the row's own, model.model_path",
    log_interval: "every step is logged",
    gen_eval_interval:
      "held-out text is reconstructed every eval_every steps; texts are made by the stage `evaluate-texts`",
    log_latent_histograms: "histograms are not kept; losses of the latents are in the log",
    log_samples: "texts are made by the stage `evaluate-texts`"
  }
} as const
