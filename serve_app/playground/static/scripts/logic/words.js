/** Numbers and states in words for a person. No DOM. */

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** @param {import("./sse.js").Progress | null} progress @returns {string} */
export function progressText(progress) {
  if (!progress) return "Sent";
  const left = progress.secondsLeft === null ? "" : ` · about ${duration(progress.secondsLeft)}`;
  if (progress.waiting) return `${progress.ahead ? `Waiting behind ${progress.ahead}` : "Waiting"}${left}`;
  return `Step ${progress.step} of ${progress.steps}${left}`;
}

/** @param {import("./sse.js").Progress | null} progress @returns {number} 0 to 1 */
export function shareDone(progress) {
  return progress && progress.steps ? progress.step / progress.steps : 0;
}

/** What a picture was made with, as pairs of name and value. @param {import("../state/gallery.js").Kept} kept */
export function partsOf({ fields, seed, width, height, steps, seconds }, title) {
  return [
    ["Model", title],
    ["Size", `${width} × ${height}`],
    ["Seed", String(seed)],
    ["Steps", String(fields.num_steps ?? (steps || "automatic"))],
    ["Quality", fields.quality ?? "smooth"],
    ...("guidance_scale" in fields ? [["Guidance", String(fields.guidance_scale)]] : []),
    ...("strength" in fields ? [["Change", String(fields.strength)]] : []),
    ...("negative_prompt" in fields ? [["Without", fields.negative_prompt]] : []),
    ["Took", duration(seconds)],
  ];
}
