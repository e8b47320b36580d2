/** Samples of text and panels of trainings, as they stand on the page. */
import { pointText } from "../evaluation/results.ts"
import { count } from "../pipeline/units.ts"
import { escape } from "./html.ts"
import { latestPanels, type Panel } from "./drawnPanels.ts"
import type { GridRow, Run } from "./rows.ts"

/** What each row wrote behind the same prompt: at the grid's number of steps, or the largest; the others folded away. */
export const samplesSection = (rows: ReadonlyArray<GridRow>, textSteps: number): string =>
  rows
    .flatMap(({ label, runs }) => {
      const samples = samplesOf(runs[0]!, textSteps)
      return samples === "" ? [] : [`<h3>${escape(label)}</h3>\n${samples}`]
    })
    .join("\n")

const samplesOf = ({ tasks, texts }: Run, textSteps: number): string => {
  const folded = (summary: string, content: string) =>
    `<details><summary>${escape(summary)}</summary>${content}</details>`
  const generations = texts?.content.generations ?? []
  const shown = generations.find(({ steps }) => steps === textSteps) ?? generations.at(-1)
  return [
    ...(shown === undefined ? [] : [`<p class="small">in ${count(shown.steps)} steps</p>${written(shown.sample)}`]),
    ...generations
      .filter(generation => generation !== shown)
      .map(({ sample, steps }) => folded(`in ${count(steps)} steps`, written(sample))),
    ...tasks.flatMap(({ content: { answers, task } }) =>
      answers.map(({ point, sample }) =>
        folded(
          `a problem of the task ${task}, ${pointText(point)}`,
          `${written(sample)}<p class="small">Right: ${escape(sample.answer)}</p>`
        )
      )
    )
  ].join("\n")
}

const written = ({ prompt, text }: { readonly prompt: string; readonly text: string }): string =>
  `<p class="text"><span class="prompt">${escape(prompt)}</span>${escape(text)}</p>`

/** The last of each kind of panel, those of the first row in sight. Pictures are shown as images: what a picture contains cannot become part of the page. */
export const panelsSection = (rows: ReadonlyArray<GridRow>): string =>
  rows
    .flatMap(({ label, runs }, row) => {
      const { lines, panels } = runs[0]!.log?.content ?? { lines: [], panels: [] }
      const latest = latestPanels(panels, lines)
      return latest.length === 0
        ? []
        : [
            `<details${row === 0 ? " open" : ""}><summary>${escape(label)}</summary>\n<div class="figures panels">\n${latest.map(picture).join("\n")}\n</div></details>`
          ]
    })
    .join("\n")

const picture = ({ name, step, svg }: Panel): string => {
  const caption = escape(`${name}, step ${count(step)}`)
  return `<figure><figcaption>${caption}</figcaption><img alt="${caption}" src="data:image/svg+xml;base64,${Buffer.from(svg).toString("base64")}"></figure>`
}
