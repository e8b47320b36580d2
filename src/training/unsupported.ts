/**
 * Fields of the field's configurations that this program does not take, each with the reason and what there is instead. Whoever brings a file of theirs
 * along is told, instead of finding out from the results.
 */
import { unsupported } from "../data/setting.ts"

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
  configPath: unsupported("the configuration is read from model_path"),
  tokenizerPath: unsupported("the tokenizer is the profile's (data.tokenizer)"),
  attnImplementation: unsupported(engine),
  moeImplementation: unsupported("mixtures of experts are not implemented"),
  basicModules: unsupported(slots),
  enableQlorafy: unsupported("QLoRA is not implemented yet"),
  qlorafyConfig: unsupported("QLoRA is not implemented yet"),
  enableNvfp4Qat: unsupported("training in NVFP4 is not implemented"),
  ldlm: unsupported("write this group below `train`, with train.method: ldlm"),
  vfm: unsupported("write this group below `train`, with train.method: vfm"),
  encoders: unsupported("models of several modalities are not implemented"),
  decoders: unsupported("models of several modalities are not implemented")
} as const

export const unsupportedLdlm = {
  enabled: unsupported("train.method: ldlm turns it on"),
  encoderModelName: unsupported("the frozen model is the row's own, model.model_path"),
  logInterval: unsupported("every step is logged"),
  genEvalInterval: unsupported(
    "held-out text is reconstructed every eval_every steps; texts are made by the stage `evaluate`"
  ),
  logLatentHistograms: unsupported("histograms are not kept; losses of the latents are in the log"),
  logSamples: unsupported("texts are made by the stage `evaluate`")
} as const

export const unsupportedData = {
  evalSize: unsupported("held-out documents are the profile's (data.heldOut), the same for all rows"),
  datasetsType: unsupported("corpora are read whole and cut by the stage `tokenize`"),
  dataloaderType: unsupported("corpora are read whole and cut by the stage `tokenize`"),
  numWorkers: unsupported(slots),
  prefetchFactor: unsupported(slots),
  dropLast: unsupported("rows that fill no step are left out, in every epoch others"),
  pinMemory: unsupported(memory)
} as const

export const unsupportedTrain = {
  colaLogHistEvery: unsupported("histograms are not kept; losses of the latents are in the log"),
  outputDir: unsupported("results lie in the cache; `pipeline export DIGEST --to files -o DIR` copies them"),
  optimizer: unsupported("the optimiser is AdamW with f32 moments"),
  rmpad: unsupported(packed),
  rmpadWithPosIds: unsupported(packed),
  dynBsz: unsupported(packed),
  dynBszMargin: unsupported(packed),
  dynBszBufferSize: unsupported(packed),
  bszWarmupRatio: unsupported("every step has global_batch_size rows"),
  bszWarmupInitMbtoken: unsupported("every step has global_batch_size rows"),
  enableMasking: unsupported("the stage `train` always trains by masked diffusion; `pretrain` trains without"),
  anchorCacheDir: unsupported(anchors),
  trajectoryDataPath: unsupported(
    "trajectories are made by the stage `trajectories`; trajectory_mode chooses their kind"
  ),
  quantizeFrozen: unsupported("frozen weights are not quantised; freeze_layers alone saves gradients and moments"),
  enableMixedPrecision: unsupported("the precision belongs to the engine; the CPU computes in f32"),
  enableReentrant: unsupported(memory),
  enableFullShard: unsupported(slots),
  enableForwardPrefetch: unsupported(slots),
  enableFsdpOffload: unsupported(memory),
  enableActivationOffload: unsupported(memory),
  activationGpuLimit: unsupported(memory),
  initDevice: unsupported(engine),
  enableFullDeterminism: unsupported("training is always deterministic"),
  enableManualEager: unsupported(engine),
  emptyCacheSteps: unsupported(memory),
  dataParallelMode: unsupported(slots),
  dsZeroStage: unsupported("DeepSpeed is not used"),
  dsOffloadOptimizer: unsupported("DeepSpeed is not used"),
  dsOffloadParam: unsupported("DeepSpeed is not used"),
  dsNvmePath: unsupported("DeepSpeed is not used"),
  dsOverlapComm: unsupported("DeepSpeed is not used"),
  dsContiguousGradients: unsupported("DeepSpeed is not used"),
  dsConfigPath: unsupported("DeepSpeed is not used"),
  tensorParallelSize: unsupported(slots),
  expertParallelSize: unsupported(slots),
  pipelineParallelSize: unsupported(slots),
  ulyssesParallelSize: unsupported(slots),
  contextParallelSize: unsupported(slots),
  ckptManager: unsupported(checkpoints),
  loadCheckpointPath: unsupported(checkpoints),
  autoResume: unsupported(checkpoints),
  saveSteps: unsupported(checkpoints),
  saveEpochs: unsupported(checkpoints),
  saveTimeIntervalMinutes: unsupported(checkpoints),
  saveTotalLimit: unsupported(checkpoints),
  saveHfWeights: unsupported("the trained weights are always saved, in Hugging Face layout"),
  saveOptimizerState: unsupported(checkpoints),
  mtpNumLayers: unsupported("heads for several tokens are not implemented"),
  mtpLossWeight: unsupported("heads for several tokens are not implemented"),
  mtpNPredict: unsupported("heads for several tokens are not implemented"),
  useWandb: unsupported(tracking),
  wandbProject: unsupported(tracking),
  wandbName: unsupported(tracking),
  wandbEntity: unsupported(tracking),
  enableProfiling: unsupported(engine),
  profileStartStep: unsupported(engine),
  profileEndStep: unsupported(engine),
  profileTraceDir: unsupported(engine),
  profileRecordShapes: unsupported(engine),
  profileProfileMemory: unsupported(engine),
  profileWithStack: unsupported(engine)
} as const
