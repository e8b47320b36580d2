/** Settings of methods that contradict each other are refused where they are decoded, at the place of each. */
import { Result, Schema } from "effect"
import { assert, describe, it } from "vitest"
import { byMethod } from "../../src/config/byMethod.ts"
import { settings } from "../../src/methods/settings.ts"
import { fromIssue } from "../../src/pipeline/SchemaProblem.ts"

const decode = Schema.decodeUnknownResult(byMethod("method", "masked", settings), { errors: "all" })
const least = { num_train_epochs: 1, global_batch_size: 4, lr: 1e-3 }

/** The fields that are refused, in the order of the alphabet. */
const refused = (fields: object): ReadonlyArray<string> => {
  const result = decode({ ...least, ...fields })
  return Result.isSuccess(result)
    ? []
    : fromIssue(result.failure.issue, fields, "")
        .map(({ path }) => path.join("."))
        .sort()
}

describe("settings", () => {
  it.each([
    [{ micro_batch_size: 3 }, ["global_batch_size", "micro_batch_size"]],
    ...[
      {},
      { method: "bd3lm", attention_block_size: 4 },
      { method: "cola", cola_wt: 1 },
      { method: "ldlm", ldlm: {} },
      { method: "vfm", vfm: {} }
    ].map(method => [{ ...method, lr_min: 2e-3, lr_decay_style: "cosine" }, ["lr", "lr_min"]] as const),
    [{ lr_min: 2e-3, lr_decay_style: "linear" }, ["lr", "lr_min"]],
    [{ pretrained: false, freeze_layers: "embed" }, ["freeze_layers", "pretrained"]],
    [{ trajectory_mode: "free" }, ["trajectory_mode"]],
    [{ trajectory_mode: "lr", mdm_loss: "elbo" }, ["mdm_loss", "trajectory_mode"]],
    [
      { trajectory_mode: "lr", trajectory_use_blockwise: true, trajectory_progressive_block_sizes: [] },
      ["trajectory_progressive_block_sizes", "trajectory_use_blockwise"]
    ],
    [{ shuffle_teacher: true }, ["repr_align_wt", "shuffle_teacher"]],
    [
      { repr_align_contrastive: true, repr_align_loss_mode: "angular" },
      ["repr_align_contrastive", "repr_align_loss_mode"]
    ],
    [{ replay_buffer_capacity: 10 }, ["replay_buffer_capacity", "replay_warmup_steps"]],
    [{ method: "cola", cola_wt: 1, trajectory_mode: "lr", mdm_loss: "elbo" }, ["mdm_loss", "trajectory_mode"]],
    [{ method: "cola" }, ["method"]],
    [{ method: "ldlm" }, ["method"]],
    [{ method: "ldlm", ldlm: {}, pretrained: false }, ["method", "pretrained"]],
    [{ method: "ldlm", ldlm: {}, attention_block_size: 4 }, ["attention_block_size", "method"]],
    [{ method: "ldlm", ldlm: {}, hybrid_bidirectional: "none" }, ["hybrid_bidirectional", "method"]],
    [{ method: "ldlm", ldlm: { latent_positions: false } }, ["ldlm.latent_positions", "ldlm.latent_start"]],
    [{ method: "cola", cola_wt: 1, cola_positions: false }, ["cola_latent_start", "cola_positions"]],
    [{ hybrid_bidirectional: "both" }, ["hybrid_bidirectional"]],
    [{ method: "vfm", vfm: {}, pretrained: false }, ["pretrained", "vfm.freeze_base"]],
    [
      { method: "vfm", vfm: { freeze_base: false }, pretrained: false, freeze_layers: "x" },
      ["freeze_layers", "pretrained"]
    ]
  ] as const)("%o do not go together", (fields, places) => assert.deepStrictEqual(refused(fields), [...places]))

  it.each([
    { micro_batch_size: 2 },
    { lr_min: 2e-3 },
    { lr_min: 1e-3, lr_decay_style: "cosine" },
    { lr: 0, lr_decay_style: "linear" },
    { pretrained: false },
    { freeze_layers: "embed" },
    { mdm_loss: "elbo" },
    { trajectory_mode: "lr", trajectory_use_blockwise: true },
    { trajectory_progressive_block_sizes: [] },
    { shuffle_teacher: true, subgoal_align_wt: 1 },
    { replay_buffer_capacity: 50 },
    { method: "ldlm", ldlm: { latent_positions: false, latent_start: "random" } },
    { method: "cola", cola_wt: 1, cola_positions: false, cola_latent_start: "random" },
    { method: "vfm", vfm: { freeze_base: false }, pretrained: false }
  ])("%o do", fields => assert.deepStrictEqual(refused(fields), []))
})
