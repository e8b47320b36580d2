/** Nothing that comes from outside is spread into the arguments of a call: the stack is overflown from about 120,000 items on. */
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { append, greatest, least } from "../../src/pipeline/lists.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** A call of one of these with a spread list among its arguments. */
const spreading = /(?:\.(?:push|unshift|apply)|fromCharCode|fromCodePoint|Math\.(?:min|max|hypot))\([^()]*\.\.\./
/** Objects and lists may hold what was spread. */
const literal = /[{[][^{}[\]]*[}\]]/g

it("no call spreads a list", () => {
  const found = globSync("{src,stages,pipelines}/**/*.ts", { cwd: root }).flatMap(file =>
    readFileSync(join(root, file), "utf8")
      .split("\n")
      .flatMap((line, i) =>
        spreading.test(line.replaceAll(/\([^()]*\?[^()]*\)/g, "").replaceAll(literal, ""))
          ? [`${file}:${i + 1}: ${line.trim()}`]
          : []
      )
  )
  expect(found).toEqual([])
})

it("lists may be long", () => {
  const long = Array.from({ length: 300_000 }, (_, i) => i)
  const list = [7]
  append(list, long)
  expect([list.length, least(long), greatest(long)]).toEqual([300_001, 0, 299_999])
  expect([least([]), greatest([]), least([3], 2), greatest([3], 4)]).toEqual([Infinity, -Infinity, 2, 4])
})
