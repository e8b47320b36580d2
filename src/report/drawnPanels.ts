/** The panels of a training as pictures, from the lines of its log. */
import type { Line } from "../training/log.ts"
import type { PanelLine } from "../training/panelFile.ts"
import { historyPanel, predictionPanel, trajectoryPanel } from "./panels.ts"

export interface Panel {
  readonly name: "history" | "prediction" | "trajectory"
  readonly step: number
  readonly svg: string
}

/** Steps that the scatter of the history shows. */
const historyLength = 400

/** All pictures of some looks; `lines` are those of the metrics. */
export const drawnPanels = (looks: ReadonlyArray<PanelLine>, lines: ReadonlyArray<Line>): ReadonlyArray<Panel> =>
  looks.flatMap(({ prediction: { confidences, positions }, step, trajectory }): ReadonlyArray<Panel> => {
    const known = confidences.map(confidence => confidence ?? undefined)
    const states = trajectory && {
      masked: trajectory.masked.map(mask => Array.from(mask, Number)),
      entropies: trajectory.entropies
    }
    return [
      { name: "prediction", step, svg: predictionPanel({ step, positions, confidences: known }) },
      ...(states === undefined
        ? []
        : [{ name: "trajectory", step, svg: trajectoryPanel({ step, ...states }) } as const]),
      { name: "history", step, svg: historyPanel({ step, ...historyUntil(step, lines) }) }
    ]
  })

/** The latest picture of each kind. */
export const latestPanels = (looks: ReadonlyArray<PanelLine>, lines: ReadonlyArray<Line>): ReadonlyArray<Panel> => {
  const last = looks.at(-1)
  if (last === undefined) return []
  const followed = looks.findLast(({ trajectory }) => trajectory !== undefined)
  const earlier = followed === undefined || followed === last ? [] : drawnPanels([followed], lines)
  return [...earlier.filter(({ name }) => name === "trajectory"), ...drawnPanels([last], lines)]
}

const historyUntil = (step: number, lines: ReadonlyArray<Line>) => {
  const numbers = lines.flatMap(line => {
    const [mdm, loss, ratio] = [line["losses/mdm"], line["training/loss"], line["training/mask_ratio"]]
    return line.step <= step && typeof mdm === "number" && typeof loss === "number" && typeof ratio === "number"
      ? [{ at: line.step, mdm, loss, ratio }]
      : []
  })
  return {
    points: numbers.slice(-historyLength).map(({ mdm, ratio }) => [ratio, mdm] as const),
    losses: numbers.map(({ at, loss }) => [at, loss] as const)
  }
}
