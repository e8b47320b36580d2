/**
 * `panels.jsonl`: what the panels of a training show, a line for each look. Data alone, so that no training depends on how it is drawn; reports and `pipeline export
 * --to panels` draw it (src/report/drawnPanels.ts).
 */
import { Schema } from "effect"

export const panelsFile = "panels.jsonl"

/** One of a sequence's positions: whether its token was masked, and whether the model's likeliest token is the right one. */
const Predicted = Schema.Literals(["right", "wrong", "not masked"])
export type Predicted = typeof Predicted.Type

const Prediction = Schema.Struct({
  positions: Schema.Array(Predicted),
  /** Probability of the likeliest token at each position; null for the first, which nothing predicts. */
  confidences: Schema.Array(Schema.NullOr(Schema.Finite))
})

const States = Schema.Struct({
  /** A text for each state, with a 1 for each position that is masked and a 0 for the others. */
  masked: Schema.Array(Schema.String.check(Schema.isPattern(/^[01]*$/))),
  /** Of each state: mean entropy of the predictions of its masked tokens, nats. */
  entropies: Schema.Array(Schema.Finite)
})

export const PanelLine = Schema.Struct({
  step: Schema.Int,
  prediction: Prediction,
  /** Where masks follow trajectories. */
  trajectory: Schema.optionalKey(States)
})
export type PanelLine = typeof PanelLine.Type

export const decodePanels = Schema.decodeUnknownEffect(Schema.Array(PanelLine))
