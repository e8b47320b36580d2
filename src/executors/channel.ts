/** The line between the runner and an action's process: JSON texts on a pipe of its own, which nothing that either says can break. */
import type { Socket } from "node:net"

/** The process's end of the pipe. */
export const descriptor = 3

export interface Channel {
  readonly send: (message: unknown) => void
  readonly close: () => void
}

export interface Listener {
  /** Whatever JSON came; who listens decides what it means. */
  readonly message: (message: unknown) => void
  /** Nothing more will come. */
  readonly lost: () => void
}

/** No message is longer, in characters: more without an end is not ours. */
const longest = 2 ** 26

// A stage may replace what is global.
const { parse, stringify } = JSON

/** Node's own channel between processes ends the runner where a process writes to the descriptor what is no JSON, and `process.send` is everybody's. */
export const open = (socket: Socket, listener: Listener): Channel => {
  let rest = ""
  let isLost = false
  const lose = () => {
    if (isLost) return
    isLost = true
    listener.lost()
  }
  socket
    .setEncoding("utf8")
    .on("data", (text: unknown) => {
      const lines = (rest + String(text)).split("\n")
      rest = lines.pop()!
      if (rest.length > longest) return void socket.destroy()
      for (const line of lines) {
        if (line === "") continue
        let message: unknown
        try {
          message = parse(line)
        } catch {
          continue
        }
        listener.message(message)
      }
    })
    .on("error", () => undefined)
    .on("end", lose)
    .on("close", lose)
  return {
    // It begins with an end: what somebody else left unfinished on the pipe is none of it.
    send: message => void socket.write(`\n${stringify(message)}\n`),
    close: () => void socket.destroy()
  }
}
