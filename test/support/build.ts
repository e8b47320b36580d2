/**
 * Runs once before the suites: the launcher rebuilds `dist/` when a source changed, so that suites in parallel need not; and a folder is made in which
 * suites leave each other the fingerprints that they computed.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { folderVariable } from "./rememberedCode.ts"

export default (): (() => void) => {
  execFileSync(process.execPath, [fileURLToPath(new URL("../../bin/pipeline.mjs", import.meta.url)), "--version"], {
    stdio: "ignore"
  })
  const folder = mkdtempSync(join(tmpdir(), "pipeline-suites-"))
  process.env[folderVariable] = folder
  return () => rmSync(folder, { recursive: true, force: true })
}
