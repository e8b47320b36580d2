/** Texts that are read whole: configurations, tokenizers, indexes. Far larger ones are something else, and would not fit into memory. */
import { Effect } from "effect"
import { open } from "node:fs/promises"
import { FileError, onFile } from "./fileError.ts"

/** Ten times the largest tokenizer. */
const mostBytes = 256 * 2 ** 20

/** The text of a file; `name` is what messages call it. */
export const readText = Effect.fnUntraced(function* (
  path: string,
  name: string,
  most = mostBytes
): Effect.fn.Return<string, FileError> {
  const text = yield* onFile(path, `read ${name}`, async () => {
    const file = await open(path, "r")
    try {
      const { size } = await file.stat()
      return size > most ? undefined : await file.readFile("utf8")
    } finally {
      await file.close()
    }
  })
  if (text !== undefined) return text
  const message = `${name} has more than ${most} bytes; no such file is that large`
  return yield* new FileError({ class: "permanent", path, message })
})
