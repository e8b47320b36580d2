/** Where the program was started, and the cache that its environment names: a user's module that is loaded later may change both. */

let kept: { readonly directory: string; readonly cache: string | undefined } | undefined

const now = () => ({ directory: process.cwd(), cache: process.env["PIPELINE_CACHE"] })

/** Call before anything of a user's is loaded. */
export const keepPlace = (): void => void (kept ??= now())

/** The directory that relative paths of the command line mean. */
export const here = (): string => (kept ?? now()).directory

/** The cache that the environment names. */
export const cacheVariable = (): string | undefined => (kept ?? now()).cache
