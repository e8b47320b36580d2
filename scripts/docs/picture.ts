/**
 * Takes a chart out of a report's page, as a picture for a page of the docs: `node scripts/docs/picture.ts REPORT.html "sort: right answers" docs/images/sort.svg`. With a legend of the rows, on a ground
 * of its own, in light and dark.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"

const [page, title, to] = process.argv.slice(2)
if (page === undefined || title === undefined || to === undefined)
  throw new Error('usage: node scripts/docs/picture.ts REPORT.html "TITLE OF A CHART" FILE.svg')
const html = readFileSync(page, "utf8")

const place = html.indexOf(`aria-label="${title}`)
const [begin, end] = [html.lastIndexOf("<figure>", place), html.indexOf("</figure>", place)]
const figure = place < 0 ? undefined : html.slice(begin, end)
const chart = figure && /<svg[^>]* width="(\d+)" height="(\d+)"[^>]*>([^]*)<\/svg>/.exec(figure)
const caption = figure && /<figcaption>([^]*?)<\/figcaption>/.exec(figure)?.[1]
if (chart === undefined || chart === null || caption === undefined) throw new Error(`${page} has no chart "${title}"`)
const colours = [...html.matchAll(/(@media[^{]*\{ )?:root \{ ([^}]*) \}/g)].map(
  ([, media = "", values]) => `${media}:root { ${values} }${media === "" ? "" : " }"}`
)
// The legend that stands above it.
const legend = /^([^]*?)<\/ul>/.exec(html.slice(html.lastIndexOf('<ul class="plain legend">', begin)))?.[1] ?? ""
const rows = [...legend.matchAll(/<span class="key" style="(color:[^"]*)">([^<]*)<\/span>([^<]*)/g)]

const [, width, height, inside] = chart as unknown as [string, string, string, string]
const line = 18
const columns = 2
const side = Math.ceil(rows.length / columns) * line
const keys = rows.map(([, colour, mark, label], i) => {
  const [x, y] = [
    10 + (i % columns) * (Number(width) / columns),
    Number(height) + 24 + 14 + Math.floor(i / columns) * line
  ]
  return `<text x="${x}" y="${y}"><tspan style="${colour!.replace("color", "fill")}">${mark}</tspan> ${label}</text>`
})
mkdirSync(dirname(to), { recursive: true })
writeFileSync(
  to,
  `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 ${width} ${Number(height) + side + 34}" font-family="system-ui, sans-serif">
<style>${colours.join(" ")} svg { color: var(--ink) } text { font-size: 12px; fill: var(--ink) } .back { fill: var(--back) }</style>
<rect class="back" width="100%" height="100%"/>
<text x="10" y="17" style="font-weight: 600">${caption.replaceAll(/<[^>]*>/g, "")}</text>
<g transform="translate(0 22)">${inside}</g>
${keys.join("\n")}
</svg>
`
)
