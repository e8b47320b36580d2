/** What engines know by numbers: buffers, executables, calls. */
export const need = <A>(map: ReadonlyMap<number, A>, id: number, what: string): A => {
  const found = map.get(id)
  if (found === undefined) throw new Error(`${what} ${id} was freed, or is not of this engine`)
  return found
}
