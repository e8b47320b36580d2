/** What each thread of a stage begins with. */
import { watchLoads } from "./Cover.ts"
import { inherited } from "./Threads.ts"

const watched = inherited()
if (watched !== undefined) watchLoads(watched.covered, watched.refuse)
