/** Lineage for other programs: JSON, Graphviz DOT and Mermaid. */
import type { LineageNode, Subgraph } from "../../ledger/Lineage.ts"
import { short } from "../../pipeline/Digest.ts"
import { count } from "../../pipeline/units.ts"
import { bytes } from "../../pipeline/units.ts"

/** Nodes and edges by digest; an edge leads from what was computed to what it was computed from. */
export const toJson = ({ edges, nodes, starts }: Subgraph) => {
  const digest = (id: number) => nodes.get(id)!.digest
  return {
    of: starts.map(digest),
    artifacts: [...nodes.values()].map(({ bytes: size, digest: name, items, kind, label, state }) => ({
      digest: name,
      kind,
      label,
      bytes: size,
      ...(items === null ? {} : { items }),
      state
    })),
    edges: edges.map(([child, parent]) => ({ child: digest(child), parent: digest(parent) }))
  }
}

/** Two short lines about an artifact. */
const caption = ({ bytes: size, digest, items, kind, label }: LineageNode): readonly [string, string] => [
  label ?? kind,
  `${label === null ? "" : `${kind} `}${short(digest)}, ${items === null ? bytes(size) : `${count(items)} items`}`
]

const inOrder = (nodes: Subgraph["nodes"]) => [...nodes.values()].sort((a, b) => a.id - b.id)

/** Graphviz; arrows point from what went in to what came out. */
export const toDot = ({ edges, nodes, starts }: Subgraph): string => {
  const quoted = (text: string) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`
  const chosen = new Set(starts)
  return [
    "digraph lineage {",
    "  rankdir=LR",
    '  node [shape=box, fontname="sans-serif", fontsize=10]',
    ...inOrder(nodes).map(node => {
      const [first, second] = caption(node)
      return `  n${node.id} [label=${quoted(`${first}\n${second}`).replaceAll("\n", "\\n")}${chosen.has(node.id) ? ", style=bold" : ""}]`
    }),
    ...edges.map(([child, parent]) => `  n${parent} -> n${child}`),
    "}"
  ].join("\n")
}

/** Mermaid, as Markdown of many sites shows it; arrows point from what went in to what came out. */
export const toMermaid = ({ edges, nodes, starts }: Subgraph): string => {
  const quoted = (text: string) =>
    `"${text.replaceAll("&", "#amp;").replaceAll('"', "#quot;").replaceAll("<", "#lt;").replaceAll(">", "#gt;")}"`
  return [
    "flowchart LR",
    ...inOrder(nodes).map(node => {
      const [first, second] = caption(node)
      return `  n${node.id}[${quoted(first).slice(0, -1)}<br>${quoted(second).slice(1)}]`
    }),
    ...edges.map(([child, parent]) => `  n${parent} --> n${child}`),
    ...starts.map(id => `  style n${id} stroke-width:3px`)
  ].join("\n")
}
