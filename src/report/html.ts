/** Pages that need nothing but themselves: no script, no network, light and dark. */

/** Text as it stands in HTML, between tags or in quotes. */
export const escape = (text: string): string =>
  text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;")

/** Rows' colours follow Okabe and Ito, darkened on white and lightened on black until they stand out. */
const light = [
  "#0072b2",
  "#c44f00",
  "#00805e",
  "#b0508c",
  "#8a6a00",
  "#2f8fc4",
  "#666666",
  "#7048a8",
  "#8c4a3c",
  "#107a8b"
]
const dark = [
  "#58aee8",
  "#ff8f52",
  "#35c79c",
  "#e59bc8",
  "#e6b840",
  "#9bd4ff",
  "#b8b8b8",
  "#b694ee",
  "#d3a294",
  "#5fcbdc"
]

const colours = (rows: ReadonlyArray<string>, others: string): string =>
  `${rows.map((colour, i) => `--row-${i + 1}: ${colour}`).join("; ")}; ${others}`

const style = `:root { color-scheme: light dark; ${colours(light, "--back: #fff; --ink: #1a1a1a; --text: #555; --line: #ddd; --shade: #f4f4f4; --warn: #b00020")} }
@media screen and (prefers-color-scheme: dark) { :root { ${colours(dark, "--back: #14161a; --ink: #e8e8e8; --text: #a8adb5; --line: #363a42; --shade: #1e2127; --warn: #ff8a80")} } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink); background: var(--back) }
h1, h2, h3 { line-height: 1.25 } h2 { margin-top: 2.5rem }
p, li { max-width: 48rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 0.9rem }
th, td { text-align: right; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th { font-weight: 600; vertical-align: bottom }
th:first-child, td:first-child { text-align: left }
td { font-variant-numeric: tabular-nums }
.wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: var(--back); white-space: normal; min-width: 7rem; max-width: 18rem }
a { color: inherit }
.prose td { text-align: left; white-space: normal }
svg { width: 100%; height: auto; display: block }
code { font-size: 0.85em; background: var(--shade); padding: 0.1em 0.3em; border-radius: 0.2em; overflow-wrap: anywhere }
.small { color: var(--text); font-size: 0.875rem }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1.5rem }
figure { margin: 0; max-width: 40rem } figure + .wide { margin-top: 1rem } figcaption { font-size: 0.9rem; font-weight: 600 }
.key { padding-right: 0.4em }
.plain { list-style: none; padding: 0 } .plain li { margin-bottom: 0.5rem }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; font-size: 0.9rem }
.remark { border-left: 0.3rem solid var(--warn); background: var(--shade); padding: 0.6rem 0.9rem; font-weight: 600 }
.prompt { color: var(--text) }
.interval { display: block; color: var(--text); font-size: 0.85em }
summary { cursor: pointer; margin: 0.5rem 0 }
@media print {
  body { margin: 0; max-width: none; font-size: 11px }
  .wide { overflow: visible } .wide th:first-child, .wide td:first-child { position: static; min-width: 0 }
  table { font-size: 0.8em } th, td { white-space: normal; padding: 0.2rem 0.3rem }
  figure, tr { break-inside: avoid } h2, h3 { break-after: avoid }
}
`

/** `body` is HTML already; `more` are styles of this page alone. */
export const htmlPage = ({
  body,
  more = "",
  title
}: {
  readonly title: string
  readonly body: string
  readonly more?: string
}): string =>
  `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>
${style}${more}</style>
</head>
<body>
<h1>${escape(title)}</h1>
${body}
</body>
</html>
`

/** A table of texts, wider than the screen where it must be. */
export const htmlTable = (columns: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<string>>): string =>
  `<div class="wide"><table>
<thead><tr>${columns.map(column => `<th>${escape(column)}</th>`).join("")}</tr></thead>
<tbody>
${lines.map(line => `<tr>${line.map(text => `<td>${escape(text)}</td>`).join("")}</tr>`).join("\n")}
</tbody></table></div>`
