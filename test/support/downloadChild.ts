/** A process that downloads one file, to be killed by a test: arguments are the URL, the target and the SHA-256. */
import { Effect } from "effect"
import { downloadVerified } from "../../src/hub/transfer.ts"

const [url = "", to = "", sha256 = ""] = process.argv.slice(2)
await Effect.runPromise(downloadVerified({ url, to, expected: { sha256 } }))
