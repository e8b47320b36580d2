/** What to do about a full disk, in one place: whoever meets it first says it. */

/** Commands that give back room at once, also when the disk has none left. */
export const makeRoom =
  "`pipeline gc --checkpoints --apply` removes what unfinished work left, downloads among it, `pipeline cache trash --empty` what was collected " +
  "before, and `pipeline cache usage` shows what else takes room; or point --cache (or PIPELINE_CACHE) to another disk"
