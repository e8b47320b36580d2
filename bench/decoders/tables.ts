/** What the bench of decoders found, as tables: on the terminal, and in a report whose figures pages show. */
import type { Speeds } from "./speeds.ts"

export interface Table {
  readonly head: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
}

const percent = (share: number | undefined): string => (share === undefined ? "" : `${(100 * share).toFixed(0)} %`)

export const tablesOf = (
  name: string,
  newTokens: number,
  { decoders, fastDllm }: Pick<Speeds, "decoders" | "fastDllm">
): ReadonlyArray<Table> => {
  const speeds = {
    head: [
      `${name}, ${newTokens} tokens`,
      "passes",
      "tok/pass",
      "ms/pass",
      "tok/s",
      "to plain",
      "GFLOP",
      "GB",
      "of products' peak",
      "of roofline",
      ...(fastDllm === undefined ? [] : ["same tokens"])
    ],
    rows: decoders.map(({ agreement, needed, ...each }) => [
      each.decoder,
      String(each.passes),
      each.tokensPerForward.toFixed(1),
      each.msPerPass.toFixed(1),
      each.tokensPerSecond.toFixed(0),
      `${(each.tokensPerSecond / decoders[0]!.tokensPerSecond).toFixed(1)} x`,
      needed.gflop.toFixed(0),
      needed.gigabytes.toFixed(1),
      percent(each.shareOfPeak),
      percent(each.shareOfRoofline),
      ...(fastDllm === undefined ? [] : [agreement === undefined ? "" : `${agreement.same} of ${agreement.tokens}`])
    ])
  }
  if (fastDllm === undefined) return [speeds]
  const texts = {
    head: [`${name}: texts of ours and of Fast-dLLM`, "passes, ours", "theirs", "same tokens"],
    rows: fastDllm.compared.map(({ agreement, decoder, passes }) => [
      decoder,
      String(passes.ours),
      String(passes.theirs),
      `${agreement.same} of ${agreement.tokens}`
    ])
  }
  return [texts, speeds]
}

/** As Markdown, with a sentence before. */
export const reportOf = (introduction: string, tables: ReadonlyArray<Table>): string => {
  const line = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
  const lines = ({ head, rows }: Table): string =>
    [line(head), line(head.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n")
  return `${[introduction, ...tables.map(lines)].join("\n\n")}\n`
}
