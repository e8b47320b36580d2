/** Prompts from standard input: as one text, or line by line. */
import { createInterface } from "node:readline"
import { Effect, Stream } from "effect"

/** A text as files of other systems write it: without a byte order mark, with one kind of line break. */
export const plainLines = (text: string): string => text.replace(/^\uFEFF/, "").replaceAll("\r\n", "\n")

/** All of it, without the last line break. */
export const standardInput = Effect.promise(async () => {
  let text = ""
  process.stdin.setEncoding("utf8")
  for await (const piece of process.stdin) text += String(piece)
  return plainLines(text).replace(/\n$/, "")
})

/** Ends a session. */
const farewell = "exit"

/** Lines that are not empty, until `exit` or the end; on a terminal each is asked for. */
export const promptLines: Stream.Stream<string> = Stream.suspend(() => {
  const terminal = process.stdin.isTTY === true && process.stderr.isTTY === true
  const lines = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stderr, prompt: "> " } : {})
  })
  const asked = async function* () {
    try {
      if (terminal) lines.prompt()
      for await (const read of lines) {
        const line = plainLines(read)
        if (line.trim() === farewell) return
        if (line.trim() !== "") yield line
        if (terminal) lines.prompt()
      }
    } finally {
      lines.close()
    }
  }
  return Stream.orDie(Stream.fromAsyncIterable(asked(), cause => cause))
})
