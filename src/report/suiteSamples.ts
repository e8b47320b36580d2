/** What was written for each problem of a benchmark, right answers beside wrong ones, as it stands on the page. */
import type { Judged } from "../evaluation/suiteFiles.ts"
import { count } from "../pipeline/units.ts"
import { escape } from "./html.ts"
import type { SuiteEntry } from "./suiteReport.ts"

/** Problems of a benchmark that the page shows, and characters of a text. All of them are in the files of the score. */
const [mostProblems, mostCharacters] = [200, 4000]

const cut = (text: string): string => (text.length > mostCharacters ? `${text.slice(0, mostCharacters)} …` : text)

interface Attempt extends Judged {
  /** Which decoding wrote it. */
  readonly by: string
}

/** The problems of a benchmark, folded away one by one. */
export const problemsSection = ({ decodings, name, prompts }: SuiteEntry): string => {
  const attempts = decodings.flatMap(({ judged, name: decoding, result }) =>
    judged.map((each): Attempt => ({ ...each, by: decoding ?? result.protocol }))
  )
  const all = [...Map.groupBy(attempts, ({ task_id: id }) => id)]
  const left = all.length - mostProblems
  const more =
    left > 0
      ? `<p class="small">The first ${count(mostProblems)} of ${count(all.length)} problems; <code>pipeline show DIGEST --item ID</code>, with the digest of the score, shows any other.</p>`
      : ""
  return `<details><summary>${escape(name)}: ${count(all.length)} problems</summary>
${more}${all
    .slice(0, mostProblems)
    .map(([id, own]) => problem(id, prompts.get(id), own))
    .join("\n")}
</details>`
}

/** A problem: how many answers are right, its prompt, and of each decoding the first right answer and the first wrong one. */
const problem = (id: string, prompt: string | undefined, attempts: ReadonlyArray<Attempt>): string => {
  const right = attempts.filter(({ passed }) => passed)
  const wrong = attempts.filter(({ passed }) => !passed)
  const verdict = right.length === 0 ? "✗" : wrong.length === 0 ? "✓" : "◐"
  const column = (heading: string, some: ReadonlyArray<Attempt>) => {
    const first = [...Map.groupBy(some, ({ by }) => by)].map(([, [one]]) => one!)
    return `<div><h4>${heading}</h4>${first.length === 0 ? `<p class="small">none</p>` : first.map(answer).join("\n")}</div>`
  }
  return `<details class="problem"><summary>${verdict} ${escape(id)}: ${count(right.length)} of ${count(attempts.length)} right</summary>
${prompt === undefined ? "" : `<pre class="prompt">${escape(cut(prompt))}</pre>`}
<div class="sides">${column("right", right)}${column("wrong", wrong)}</div></details>`
}

const answer = ({ by, completion, result }: Attempt): string =>
  `<div class="answer"><p class="small">${escape(by)}: ${escape(result)}</p><pre>${escape(cut(completion))}</pre></div>`
