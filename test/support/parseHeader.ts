/** The header of a safetensors file whose first bytes lie in memory; `size` is that of the whole file. */
import { Effect, type Result } from "effect"
import { readHeader, type SafetensorsError, type SafetensorsHeader } from "../../src/formats/safetensors.ts"

export const parseHeader = (
  bytes: Uint8Array,
  size: number,
  file: string
): Result.Result<SafetensorsHeader, SafetensorsError> =>
  Effect.runSync(
    Effect.result(
      readHeader({
        file,
        size,
        readRange: (offset, length) => Effect.succeed(bytes.subarray(offset, offset + length))
      })
    )
  )
