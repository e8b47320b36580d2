/** Run by npm before it packs: what a package for others needs beside the build (docs/decisions/055-the-package-brings-its-runtime.md). */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { writeDeclarations } from "./declarations.ts"
import { noticesOf } from "./notices.ts"
import { parts, removeParts } from "./parts.ts"
import { copyRuntime } from "./runtime.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const dist = join(root, "dist")

removeParts(dist)
mkdirSync(dist, { recursive: true })
writeDeclarations(root, join(dist, parts.types))
copyRuntime(root, join(dist, parts.packages))
writeFileSync(join(dist, parts.notices), noticesOf(root))
