/** Words as a shell reads them back. */

/** A word that stands for itself in a command line; in quotes where it needs them. */
export const quoted = (word: string): string =>
  /^[\w./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
