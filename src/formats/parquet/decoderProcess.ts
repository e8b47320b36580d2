/** The process that decodes Parquet: whatever is in a file is looked at here alone, and who started it may kill it. */
import { Damage } from "./damage.ts"
import { decodeColumn } from "./decode.ts"
import { type Footer, parseFooter, type Shape } from "./footer.ts"

export type Request =
  | { readonly type: "footer"; readonly bytes: Uint8Array<ArrayBuffer>; readonly dataEnd: number }
  | {
      readonly type: "column"
      readonly group: number
      readonly column: string
      readonly rows: number
      /** The first bytes of each of the column's chunks. */
      readonly bytes: ReadonlyArray<Uint8Array>
    }

export type Reply =
  | { readonly type: "shape"; readonly shape: Shape }
  /** A part of the values; `last` are the end of them. */
  | { readonly type: "values"; readonly values: ReadonlyArray<unknown>; readonly last: boolean }
  | { readonly type: "needed"; readonly needed: ReadonlyArray<number> }
  | { readonly type: "damage"; readonly what: string; readonly offset: number | undefined }

/** Values that go into one message: all of a large column would not fit. */
const valuesInMessage = 4096

let footer: Footer | undefined

async function* answer(request: Request): AsyncGenerator<Reply> {
  if (request.type === "footer") {
    footer = parseFooter(request.bytes, request.dataEnd)
    return yield { type: "shape", shape: footer.shape }
  }
  const found = await decodeColumn(footer!, request.group, request.column, request.rows, request.bytes)
  if ("needed" in found) return yield { type: "needed", needed: found.needed }
  for (let at = 0; ; at += valuesInMessage) {
    const last = at + valuesInMessage >= found.values.length
    yield { type: "values", values: found.values.slice(at, at + valuesInMessage), last }
    if (last) return
  }
}

process.on("message", async ({ id, request }: { readonly id: number; readonly request: Request }) => {
  const send = (reply: Reply) => process.send!({ id, reply })
  try {
    for await (const reply of answer(request)) send(reply)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const known = error instanceof Damage
    const what = known ? message : `the bytes cannot be decoded (${message}); is the file complete and undamaged?`
    send({ type: "damage", what, offset: known ? error.offset : undefined })
  }
})
