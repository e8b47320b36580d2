/** Added tokens in a text: where they stand, with the spaces that they take along, and the text between them. */
import type { AddedToken } from "./tokenizerFile.ts"
import { isWordBefore, leadingSpace, spaceBefore, startsWithWord } from "./textParts.ts"

/** A stretch of text, or a token. */
export type Section = string | AddedToken

interface Node {
  readonly next: Map<string, Node>
  token?: AddedToken
}

/** Finds the leftmost of some tokens, of several that begin there the longest. `spelled`: how a token stands in the text. */
export const sectionsBy = (
  tokens: ReadonlyArray<AddedToken>,
  spelled: (token: AddedToken) => string
): ((text: string) => ReadonlyArray<Section>) => {
  const root: Node = { next: new Map() }
  for (const token of tokens) {
    let node = root
    const content = spelled(token)
    for (let i = 0; i < content.length; i++) {
      const unit = content[i]!
      let below = node.next.get(unit)
      if (below === undefined) node.next.set(unit, (below = { next: new Map() }))
      node = below
    }
    if (node !== root) node.token ??= token
  }
  if (root.next.size === 0) return text => [text]
  // Units, not characters: half a surrogate pair begins no token but may begin a match.
  const first = new RegExp(
    `[${[...root.next.keys()].map(unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")}]`,
    "g"
  )

  /** The longest token that begins at a place, and where it ends. */
  const longestAt = (text: string, start: number) => {
    let found: { readonly token: AddedToken; readonly end: number } | undefined
    let node: Node | undefined = root
    for (let at = start; at < text.length; at++) {
      node = node.next.get(text[at]!)
      if (node === undefined) break
      if (node.token !== undefined) found = { token: node.token, end: at + 1 }
    }
    return found
  }

  return text => {
    const sections: Array<Section> = []
    let [at, done] = [0, 0]
    for (;;) {
      first.lastIndex = at
      const start = first.exec(text)?.index
      if (start === undefined) break
      const found = longestAt(text, start)
      at = found?.end ?? start + 1
      if (found === undefined) continue
      const { token } = found
      let [from, to] = [start, found.end]
      if (token.singleWord && (isWordBefore(text, from) || startsWithWord.test(text.slice(to)))) continue
      if (token.lstrip) from = Math.max(done, spaceBefore(text, from))
      if (token.rstrip) to += leadingSpace.exec(text.slice(to))?.[0].length ?? 0
      if (from > done) sections.push(text.slice(done, from))
      sections.push(token)
      done = to
    }
    if (done < text.length) sections.push(text.slice(done))
    return sections
  }
}
