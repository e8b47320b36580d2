/** What `dist/` holds in a package for others and not in a checkout: made before npm packs, taken away after. */
import { rmSync } from "node:fs"
import { join } from "node:path"

export const parts = {
  /** Declarations, of the entries and of all that these refer to. */
  types: "types",
  /** ONNX Runtime, where Node looks for it first: docs/decisions/055-the-package-brings-its-runtime.md. */
  packages: "node_modules",
  /** Licences of the packages whose code is part of the build. */
  notices: "NOTICES.txt"
} as const

/** In a checkout these would stand before what `npm ci` installed, and grow old. */
export const removeParts = (dist: string): void => {
  for (const part of Object.values(parts)) rmSync(join(dist, part), { recursive: true, force: true })
}
