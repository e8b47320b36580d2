/** Ctrl-C: the first stops cleanly, the second kills. */

/** What the running verb wants done at the second Ctrl-C, before the program ends at once. */
let killNow: (() => void) | undefined
let describe = "stopping"

export const whileWorking = (options: { readonly describe: string; readonly kill: () => void }): void => {
  killNow = options.kill
  describe = options.describe
}

export const onInterrupt = (times: number): void => {
  if (times === 1) {
    if (killNow !== undefined) process.stderr.write(`\n${describe}; press Ctrl-C again to kill\n`)
    return
  }
  killNow?.()
  process.exit(130)
}
