/**
 * Server-sent events, from text in pieces of any size, and what the service's comment lines say of progress.
 * No DOM.
 */

/** @typedef {{event: string, data: string} | {comment: string}} Told */
/** @typedef {{picture: number, waiting: boolean, ahead: number, step: number, steps: number,
 *             secondsLeft: number | null}} Progress */

/** Reads a stream; give it whatever comes. */
export class EventReader {
  #rest = "";

  /**
   * @param {string} text - the next piece
   * @returns {Told[]} what is complete by now
   */
  read(text) {
    const blocks = (this.#rest + text).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map(toldBy).filter((told) => told !== null);
  }
}

/** @param {string} block @returns {Told | null} */
function toldBy(block) {
  let event = "message";
  const data = [];
  const comments = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "") comments.push(value);
    else if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  if (data.length) return { event, data: data.join("\n") };
  return comments.length && comments[0] ? { comment: comments.join("\n") } : null;
}

const PROGRESS = /^picture (\d+): (?:waiting(?: behind (\d+))?|step (\d+) of (\d+))(?:, about ([\d.e+]+) s left)?$/;

/**
 * @param {string} comment - as `picture 0: step 3 of 8, about 2.1 s left`
 * @returns {Progress | null} null for one that says something else
 */
export function progressOf(comment) {
  const found = PROGRESS.exec(comment);
  if (!found) return null;
  const [, picture, ahead, step, steps, seconds] = found;
  return {
    picture: Number(picture),
    waiting: step === undefined,
    ahead: Number(ahead ?? 0),
    step: Number(step ?? 0),
    steps: Number(steps ?? 0),
    secondsLeft: seconds === undefined ? null : Number(seconds),
  };
}
