/** Bytes that can be read from anywhere within: a local file, or bytes in memory; src/hub/httpSource.ts adds files of the web. */
import { Effect } from "effect"
import { type FileHandle, open } from "node:fs/promises"
import { type FileError, onFile } from "./fileError.ts"

export interface RandomAccess<E = never> {
  /** How messages call it. */
  readonly name: string
  /** In bytes. */
  readonly size: Effect.Effect<number, E>
  /** The bytes [start, end); fewer when the file ends before. */
  readonly read: (start: number, end: number) => Effect.Effect<Uint8Array<ArrayBuffer>, E>
}

export const bytesSource = (name: string, bytes: Uint8Array): RandomAccess => ({
  name,
  size: Effect.succeed(bytes.length),
  read: (start, end) => Effect.sync(() => new Uint8Array(bytes.slice(start, end)))
})

/** The system gives no more than 2 GiB. */
const readAtOnce = 2 ** 30

/** A file of this machine. It is opened anew for each read, so there is nothing to close. */
export const fileSource = (path: string): RandomAccess<FileError> => {
  const withFile = <A>(use: (file: FileHandle) => Promise<A>) =>
    onFile(path, `read ${path}`, async () => {
      const file = await open(path, "r")
      try {
        return await use(file)
      } finally {
        await file.close()
      }
    })
  return {
    name: path,
    size: withFile(async file => (await file.stat()).size),
    read: (start, end) =>
      withFile(async file => {
        const length = Math.max(0, Math.min(end, (await file.stat()).size) - start)
        const bytes = new Uint8Array(length)
        for (let done = 0; done < length;) {
          const { bytesRead } = await file.read(bytes, done, Math.min(length - done, readAtOnce), start + done)
          if (bytesRead === 0) return bytes.slice(0, done)
          done += bytesRead
        }
        return bytes
      })
  }
}
