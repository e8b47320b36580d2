/**
 * The modules that some entries load at once, for one chunk: every action's process reads what a stage and its process need as
 * one file instead of thirty.
 */
import type { Plugin } from "rolldown"

export const graphOf = (
  entries: ReadonlyArray<string>
): { readonly plugin: Plugin; readonly has: (id: string) => boolean } => {
  const members = new Set<string>()
  return {
    // The entries themselves stay apart: what they do when they are loaded is for their processes alone.
    has: id => members.has(id) && !entries.includes(id),
    plugin: {
      name: "graph",
      buildEnd() {
        const pending = [...entries]
        while (pending.length > 0) {
          const id = pending.pop()!
          if (members.has(id)) continue
          members.add(id)
          pending.push(...(this.getModuleInfo(id)?.importedIds ?? []))
        }
      }
    }
  }
}
