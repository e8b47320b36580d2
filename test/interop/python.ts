/** Runs the Python programs of the interoperability tests in their virtual environment. */
import { execFileSync } from "node:child_process"
import { join } from "node:path"

/** The environment variable by which `run.ts` names the virtual environment's interpreter. */
export const interpreterVariable = "INTEROP_PYTHON"

/** Runs `python/<program>` with a JSON request, and reads its JSON reply. */
export const python = <Reply>(program: string, request: unknown): Reply => {
  const interpreter = process.env[interpreterVariable]
  if (interpreter === undefined)
    throw new Error(`${interpreterVariable} is not set; start these tests with npm run test:interop`)
  const output = execFileSync(interpreter, [join(import.meta.dirname, "python", program)], {
    input: JSON.stringify(request),
    maxBuffer: 2 ** 30,
    stdio: ["pipe", "pipe", "inherit"]
  })
  return JSON.parse(output.toString()) as Reply
}
