/** Run by npm when it has packed: `dist/` is that of a checkout again. */
import { fileURLToPath } from "node:url"
import { removeParts } from "./parts.ts"

removeParts(fileURLToPath(new URL("../../dist", import.meta.url)))
