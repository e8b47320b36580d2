/** Frames between us and the Python process: 4 bytes length of the header (little-endian), the header as JSON, its `bytes` of payload. */

export interface Header {
  readonly [field: string]: unknown
}

/** The beginning of a frame; `bytes` of payload follow. */
export const frame = (header: Header, bytes: number): Uint8Array => {
  const json = Buffer.from(JSON.stringify({ ...header, bytes }))
  const whole = Buffer.alloc(4 + json.length)
  whole.writeUInt32LE(json.length)
  json.copy(whole, 4)
  return whole
}

/** Puts frames together from the pieces in which they arrive. */
export class FrameReader {
  readonly #onFrame: (header: Header, payload: Uint8Array) => void
  #pieces: Array<Uint8Array> = []
  #size = 0
  #header: Header | undefined
  /** Bytes that the next part needs. */
  #need = 4
  #part: "length" | "header" | "payload" = "length"

  constructor(onFrame: (header: Header, payload: Uint8Array) => void) {
    this.#onFrame = onFrame
  }

  push(piece: Uint8Array): void {
    this.#pieces.push(piece)
    this.#size += piece.length
    while (this.#size >= this.#need) this.#next(this.#take(this.#need))
  }

  #next(bytes: Uint8Array): void {
    switch (this.#part) {
      case "length":
        this.#part = "header"
        this.#need = Buffer.from(bytes.buffer, bytes.byteOffset, 4).readUInt32LE()
        return
      case "header":
        this.#header = JSON.parse(Buffer.from(bytes).toString("utf8")) as Header
        this.#part = "payload"
        this.#need = this.#header["bytes"] as number
        return
      case "payload": {
        this.#part = "length"
        this.#need = 4
        this.#onFrame(this.#header!, bytes)
      }
    }
  }

  /** The first n bytes, in memory of their own. */
  #take(n: number): Uint8Array {
    const taken = new Uint8Array(n)
    let at = 0
    while (at < n) {
      const piece = this.#pieces[0]!
      const part = piece.subarray(0, n - at)
      taken.set(part, at)
      at += part.length
      if (part.length === piece.length) this.#pieces.shift()
      else this.#pieces[0] = piece.subarray(part.length)
    }
    this.#size -= n
    return taken
  }
}
