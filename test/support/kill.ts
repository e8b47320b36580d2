/**
 * Process 0 is everybody of the group, and a negative one is a group: a test that takes an empty text for an id
 * would end the program that runs it, and whoever started that. No test means either.
 */
const kill = process.kill.bind(process)

process.kill = (pid, signal) => {
  if (!Number.isSafeInteger(pid) || pid <= 0) throw new Error(`process.kill: ${pid} is not the id of one process`)
  return kill(pid, signal)
}
