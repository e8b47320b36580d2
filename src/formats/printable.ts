/** Text from outside, fit to be shown in a message. */

/** Without control characters (a terminal would obey them), on one line, and not endless. */
export const printable = (text: string): string => {
  const clean = text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim()
  return clean.length > 300 ? `${clean.slice(0, 300)}…` : clean
}
