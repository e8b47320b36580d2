/** Which Python interpreter has PyTorch. Imported by the command line: loads nothing. */
import { join } from "node:path"

/** The variable that names the interpreter. */
export const pythonVariable = "PIPELINE_TORCH_PYTHON"

/** `PIPELINE_TORCH_PYTHON`, the active virtual environment, or `python3`. */
export const findPython = (environment: NodeJS.ProcessEnv = process.env): string => {
  const named = environment[pythonVariable]
  if (named !== undefined && named !== "") return named
  const virtual = environment["VIRTUAL_ENV"]
  return virtual === undefined || virtual === "" ? "python3" : join(virtual, "bin", "python")
}
