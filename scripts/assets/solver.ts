/** The packages of the solver of equations. */
import type { PinnedPackage } from "../../src/corpora/packages.ts"

/** The solver that writes the steps of the reasoning set, and what it needs to run; nothing of these is shipped. */
export const solverPackages: ReadonlyArray<PinnedPackage> = [
  {
    name: "mathsteps",
    version: "0.2.0",
    sha256: "78467d8af3adacea67063bc7dfd1b02afe424b3aa0568989d471f3b7a335315d"
  },
  {
    name: "mathjs",
    version: "3.11.2",
    sha256: "f41c326e350d8483a8c05cc8a9dddaced0cb19eeea1bb0747b50e6c4ad623fee"
  },
  {
    name: "complex.js",
    version: "2.0.1",
    sha256: "70ce255d4046daa6477fadccb46ea9f2b58c2abdec1b3390e1c244bc2f0eb81f"
  },
  {
    name: "decimal.js",
    version: "7.1.1",
    sha256: "f47fb9cac0015ff168e201c7d96987d7ac6ec7b662702a144f8d3593c9c1984c"
  },
  {
    name: "fraction.js",
    version: "4.0.0",
    sha256: "22d469a8571b22a022085e12c2b88781d2a8cf1a738d8550bdb48f7fd7c7b847"
  },
  {
    name: "seed-random",
    version: "2.2.0",
    sha256: "3ffd9f9c52f10cf6cd8475831281a84a6a5171c583ccc2aa594a348e8dc33ead"
  },
  {
    name: "tiny-emitter",
    version: "1.0.2",
    sha256: "3eda6090f831487eacfcbf07e95c8adb68335ac9b517a405886439b7559853d0"
  },
  {
    name: "typed-function",
    version: "0.10.5",
    sha256: "45620803f314c7dc9b00605469fae4b6ed92474d6016e8b336a38788009cd36e"
  }
]
