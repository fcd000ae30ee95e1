/**
 * Sizes of pictures: the common shapes within a model's limits, and whether a size is within them. No DOM.
 */

/** @typedef {{min_side: number, max_side: number, max_pixels: number, max_aspect: number, max_steps: number,
 *             default_size: string, size_multiple: number, max_image_bytes: number}} Limits */
/** @typedef {{width: number, height: number}} Size */

/** Sides of the shapes that are offered, and what a person calls them. */
export const SHAPES = [
  { name: "Square", label: "1:1", ratio: [1, 1] },
  { name: "Landscape", label: "4:3", ratio: [4, 3] },
  { name: "Wide", label: "16:9", ratio: [16, 9] },
  { name: "Portrait", label: "3:4", ratio: [3, 4] },
  { name: "Tall", label: "9:16", ratio: [9, 16] },
];

const MOST_OF_A_SIDE = 99_999; // five digits

/** @param {string} text - as `1024x768` @returns {Size | null} */
export function parseSize(text) {
  const found = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/.exec(text);
  return found && { width: Number(found[1]), height: Number(found[2]) };
}

/** What was entered as a side, as one that `parseSize` reads. @param {number} side @returns {number} */
export function readableSide(side) {
  return Math.min(MOST_OF_A_SIDE, Math.max(1, Math.round(side)));
}

/** A size as it was kept, or auto where it is none. @param {string} text @returns {string} */
export function readableSize(text) {
  return parseSize(text) ? text : "auto";
}

/** @param {Size} size */
export function sizeText({ width, height }) {
  return `${width}x${height}`;
}

/**
 * The size of a shape with about as many pixels as the model's default has.
 *
 * @param {number[]} ratio - of width to height
 * @param {Limits} limits
 * @returns {Size | null} null where the model makes no such shape
 */
export function sizeOfShape([across, down], limits) {
  const usual = parseSize(limits.default_size);
  const pixels = Math.min(usual.width * usual.height, limits.max_pixels);
  const long = Math.min(Math.sqrt((pixels * Math.max(across, down)) / Math.min(across, down)), limits.max_side);
  const scale = long / Math.max(across, down);
  const size = (round) => ({
    width: fitted(across * scale, limits, round),
    height: fitted(down * scale, limits, round),
  });
  return [size(Math.round), size(Math.floor)].find((each) => !problemOf(each, limits)) ?? null; // floor: fewer pixels
}

/** @param {Limits} limits @returns {{name: string, label: string, size: Size}[]} */
export function shapesFor(limits) {
  const shapes = SHAPES.map(({ name, label, ratio }) => ({ name, label, size: sizeOfShape(ratio, limits) }));
  return shapes.filter(({ size }) => size !== null);
}

/**
 * A size chosen for one model, for another: the same where that makes it, else its shape, else the default.
 *
 * @param {string} chosen - WIDTHxHEIGHT or auto
 * @param {Limits} from
 * @param {Limits} to
 */
export function carriedSize(chosen, from, to) {
  if (chosen === "auto" || !problemOf(parseSize(chosen), to)) return chosen;
  const shape = shapesFor(from).find(({ size }) => sizeText(size) === chosen);
  const same = shape && shapesFor(to).find(({ name }) => name === shape.name);
  return same ? sizeText(same.size) : "auto";
}

/** A multiple within the limits, next to `side` by `round`. */
function fitted(side, { size_multiple: multiple, min_side: least, max_side: most }, round) {
  return (
    Math.max(Math.ceil(least / multiple), Math.min(round(side / multiple), Math.floor(most / multiple))) * multiple
  );
}

/**
 * What is wrong with a size, in a sentence for a person.
 *
 * @param {Size} size
 * @param {Limits} limits
 * @returns {string | null}
 */
export function problemOf({ width, height }, limits) {
  const [short, long] = width < height ? [width, height] : [height, width];
  const { min_side: least, max_side: most, size_multiple: multiple } = limits;
  if (!Number.isInteger(width) || !Number.isInteger(height)) return "Width and height are whole numbers of pixels.";
  if (short < least || long > most) return `Sides are ${least} to ${most} pixels.`;
  if (width % multiple || height % multiple) {
    const [across, down] = [width, height].map((side) => fitted(side, limits, Math.round));
    return `Sides are multiples of ${multiple}, as ${across} × ${down}.`;
  }
  if (width * height > limits.max_pixels) {
    const [allowed, asked] = [limits.max_pixels, width * height].map((pixels) => pixels.toLocaleString("en"));
    return `This model makes up to ${allowed} pixels; this would be ${asked}.`;
  }
  if (long > short * limits.max_aspect) return `The longer side is at most ${limits.max_aspect} times the shorter.`;
  return null;
}
