/** The launcher that started us in another Node, where there is one: when it is gone, we stop as if we had been asked to. */
/** Names the descriptor of a pipe whose other end the launcher holds as long as it lives. */
const variable = "PIPELINE_LAUNCHER"

let descriptor: number | undefined

export const followLauncher = (): void => {
  const named = process.env[variable]
  if (named === undefined) return
  delete process.env[variable]
  descriptor = Number(named)
  const { Socket } = process.getBuiltinModule("node:net")
  const pipe = new Socket({ fd: descriptor, readable: true, writable: false })
  pipe.on("error", () => undefined).on("close", () => process.kill(process.pid, "SIGTERM"))
  pipe.resume().unref()
}

/** For verbs that compute without a pause and hear no event: a thread waits for the end of the pipe. */
export const followLauncherFromThread = (): void => {
  if (descriptor === undefined) return
  const { Worker } = process.getBuiltinModule("node:worker_threads")
  new Worker(
    `const { readSync } = require("node:fs")
     const look = () => {
       try {
         if (readSync(${descriptor}, Buffer.alloc(1)) > 0) return look()
       } catch (error) {
         if (error.code === "EAGAIN") return setTimeout(look, 100)
       }
       process.kill(process.pid, "SIGTERM")
     }
     look()`,
    { eval: true, stdout: false, stderr: false }
  ).unref()
}
