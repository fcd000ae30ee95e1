/** The pictures of runs, of which some may be deleted. No DOM. */

/**
 * The runs without the pictures that are kept no more; one that has ended well and has none left is gone, too.
 *
 * @param {import("../state/runs.js").Run[]} runs
 * @param {{id: string}[]} pictures - all that are kept
 * @returns {import("../state/runs.js").Run[]} the same array where nothing has changed
 */
export function withoutDeleted(runs, pictures) {
  const there = new Set(pictures.map(({ id }) => id));
  const isDeleted = ({ kept }) => kept !== null && !there.has(kept.id);
  if (!runs.some(({ slots }) => slots.some(isDeleted))) return runs;
  return runs
    .map((run) => ({
      ...run,
      slots: run.slots.map((slot) => (isDeleted(slot) ? { ...slot, kept: null, isDeleted: true } : slot)),
    }))
    .filter(({ status, slots }) => status !== "done" || !slots.every((slot) => slot.isDeleted));
}
