/** Ctrl-C: the first stops cleanly, the second kills. */

export interface Work {
  /** Tells the user, where nothing else is drawn over it. */
  readonly announce: (message: string) => void
  /** At the second Ctrl-C, before the program ends at once. */
  readonly kill: () => void
}

let current: Work | undefined

export const whileWorking = (work: Work): void => {
  current = work
}

export const onInterrupt = (times: number): void => {
  if (times === 1)
    return current?.announce("stopping: running actions end at their next safe point; press Ctrl-C again to kill them")
  current?.kill()
  process.exit(130)
}
