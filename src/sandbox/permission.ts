/** Whether programs that a model wrote may be run: only who was asked for it runs them. Imported by the command line: loads nothing. */

/** Set by `pipeline run --allow-code-execution` for the processes of its actions, and by nothing else: what the shell has in it does not count. */
const variable = "PIPELINE_ALLOW_CODE_EXECUTION"

export const flag = "--allow-code-execution"

/** Gives the permission to the processes that this one starts, or takes it. */
export const setPermission = (given: boolean): void => {
  if (given) process.env[variable] = "1"
  else delete process.env[variable]
}

export const hasPermission = (environment: NodeJS.ProcessEnv = process.env): boolean => environment[variable] === "1"

export const advice = `programs that a model wrote are run in a sandbox, and only where that is asked for: say ${flag}`
