/** Runs once before the suites: the launcher rebuilds `dist/` when a source changed, so that suites in parallel need not. */
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

export default (): void => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url)), "--version"], {
    stdio: "ignore"
  })
}
