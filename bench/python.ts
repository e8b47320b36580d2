/** A program of PyTorch's beside ours, which is asked and answers in lines of JSON. */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"

const interpreter = process.env["INTEROP_PYTHON"] ?? join(import.meta.dirname, "..", ".venv", "bin", "python")

export const startPython = (program: string) => {
  if (!existsSync(interpreter)) throw new Error(`${interpreter} is not there; npm run test:interop makes it`)
  const child = spawn(interpreter, [join(import.meta.dirname, program)], { stdio: ["pipe", "pipe", "inherit"] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    send: (question: unknown) => void child.stdin.write(`${JSON.stringify(question)}\n`),
    next: async <A>(): Promise<A> => {
      const { done, value } = await lines.next()
      if (done === true) throw new Error(`${program} ended; see above`)
      return JSON.parse(value) as A
    },
    end: () => void child.stdin.end()
  }
}
