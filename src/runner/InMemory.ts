/** The user's modules that this process has loaded, with what they held then: a stage's functions here are those of that code. */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { fileURLToPath } from "node:url"
import { type Digest, sha256 } from "../pipeline/Digest.ts"
import { packageRootOf } from "./code/Packages.ts"

const held = new Map<string, Digest>()

/** From now on it is noted what is loaded. */
export const noteLoads = (): void => {
  registerHooks({
    load: (url, context, next) => {
      const loaded = next(url, context)
      if (!url.startsWith("file:")) return loaded
      const path = fileURLToPath(url)
      if (packageRootOf(path) !== undefined) return loaded
      const { source } = loaded
      held.set(
        path,
        ArrayBuffer.isView(source)
          ? sha256(new Uint8Array(source.buffer, source.byteOffset, source.byteLength))
          : sha256(readFileSync(path))
      )
      return loaded
    }
  })
}

/** Whether none of these modules was loaded with another content. */
export const isOf = (modules: ReadonlyArray<readonly [path: string, digest: Digest]>): boolean =>
  modules.every(([path, digest]) => (held.get(path) ?? digest) === digest)
