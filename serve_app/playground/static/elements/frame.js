// Where a picture lies in the one that is to be made: arithmetic alone.
//
// A frame is {x, y, width, height} in pixels of the picture, whose own corner is at 0, 0: with x = -100 there are 100
// pixels to paint at its left, with x = 100 as many are cut off. null is the picture itself. Limits are those of a
// model, as /v1/models has them, with `multiple` for its size_multiple.
//
// Invariants: what `layout` says is within the limits, whatever the frame; only a picture without one keeps its shape.
// Proportions are kept. No sliver is left to paint at an edge that was not moved out.

export const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
export const PRESETS = {
  whole: { label: "Original", title: "The picture as it is" },
  grown: { label: "+25 %", title: "Extend by 25 % all around" },
  square: { label: "Square", title: "Extend to a square", ratio: 1 },
  wide: { label: "16:9", title: "Extend to 16:9, wide", ratio: 16 / 9 },
  tall: { label: "9:16", title: "Extend to 9:16, tall", ratio: 9 / 16 },
};

const REACH = 1.5; // times the picture's longer side: as far out may an edge go
const AS_GOOD_AS = 1e-6; // 2047.9999999 is 2048

/** The frame of a preset's shape that just holds all of the picture, {width, height}. */
export function preset(name, picture, limits) {
  const { width, height } = picture;
  if (name === "whole") {
    return null;
  }
  if (name === "grown") {
    const [x, y] = [Math.round(width / 4), Math.round(height / 4)];
    return shaped({ x: -x, y: -y, width: width + 2 * x, height: height + 2 * y }, limits);
  }
  const { ratio } = PRESETS[name];
  const outer = around(
    whole(picture),
    Math.max(width, Math.round(height * ratio)),
    Math.max(height, Math.round(width / ratio)),
  );
  return orWhole(shaped(outer, limits), picture);
}

/**
 * The frame after a handle has been moved by dx, dy pixels of the picture; `frame` may be null. An edge that comes
 * nearer than `snap` pixels to the picture's own lies on it.
 */
export function resized(frame, handle, dx, dy, picture, limits, snap = 0) {
  const { x, y, width, height } = frame ?? whole(picture);
  const across = movedEdge({ start: x, length: width }, handle, "we", dx, picture.width, picture, snap);
  const down = movedEdge({ start: y, length: height }, handle, "ns", dy, picture.height, picture, snap);
  const shortest = (own) => Math.min(limits.min_side, own);
  const { start: left, length: wide } = /[we]/.test(handle)
    ? withLength(across, handle.includes("w"), shortest(picture.width), down.length, limits.max_aspect)
    : across;
  const { start: top, length: high } = /[ns]/.test(handle)
    ? withLength(down, handle.includes("n"), shortest(picture.height), wide, limits.max_aspect)
    : down;
  return orWhole({ x: left, y: top, width: wide, height: high }, picture);
}

/** The frame moved as it is by dx, dy pixels of the picture, of which some stays inside. */
export function moved(frame, dx, dy, picture, limits) {
  const { x, y, width, height } = frame ?? shaped(whole(picture), limits);
  const along = (start, length, own) => Math.round(clamp(start, overlap(own) - length, own - overlap(own)));
  const place = { x: along(x + dx, width, picture.width), y: along(y + dy, height, picture.height) };
  return orWhole({ ...place, width, height }, picture);
}

/**
 * The size of what is to be sent and made, {width, height}, and the place of the picture in it, `source`, which may
 * reach beyond: both in whole pixels. `scale` is 1 where the picture keeps its pixels.
 */
export function layout(picture, frame, limits) {
  if (!frame) {
    const scale = scaleInto(limits, picture);
    const round = scale > 1 ? (side) => Math.ceil(side - AS_GOOD_AS) : (side) => Math.floor(side + AS_GOOD_AS);
    const size = { width: round(picture.width * scale), height: round(picture.height * scale) };
    return { ...size, scale, source: { x: 0, y: 0, ...size } };
  }
  const outer = shaped(frame, limits); // which it is, unless the limits have changed
  const scale = scaleInto(limits, outer);
  const { multiple, min_side, max_aspect } = limits;
  const down = (side) => Math.floor((side + AS_GOOD_AS) / multiple) * multiple;
  const rounded = (side) => Math.max(down(side), Math.ceil(min_side / multiple) * multiple);
  const [wide, high] = [rounded(outer.width * scale), rounded(outer.height * scale)];
  const width = Math.min(wide, down(high * max_aspect));
  const height = Math.min(high, down(wide * max_aspect));
  const across = placed(outer.x, outer.width, picture.width, scale, width);
  const along = placed(outer.y, outer.height, picture.height, scale, height);
  return {
    width,
    height,
    scale,
    source: { x: across.start, y: along.start, width: across.length, height: along.length },
  };
}

/** Whether two frames, or two sets of limits, say the same in the same order. */
export function isSame(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** What holds both picture and frame, {x, y, width, height}. */
export function outline(picture, frame) {
  const { x, y, width, height } = frame ?? whole(picture);
  const [left, top] = [Math.min(0, x), Math.min(0, y)];
  const [right, bottom] = [Math.max(picture.width, x + width), Math.max(picture.height, y + height)];
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** Why a model with these limits would refuse a picture of this size, or null: only shape is left to be wrong. */
export function misfit({ width, height }, limits) {
  if (Math.max(width, height) <= Math.min(width, height) * limits.max_aspect) {
    return null;
  }
  return `This model takes pictures of up to ${limits.max_aspect}:1. Extend or crop this one to such a shape.`;
}

function whole({ width, height }) {
  return { x: 0, y: 0, width, height };
}

/** A frame of another size with the same middle. */
function around({ x, y, width, height }, wide, high) {
  return { x: x - Math.floor((wide - width) / 2), y: y - Math.floor((high - height) / 2), width: wide, height: high };
}

/** A frame made wider or higher, to the longest shape that is allowed. */
function shaped(frame, { max_aspect: most }) {
  const { width, height } = frame;
  return around(frame, Math.max(width, Math.ceil(height / most)), Math.max(height, Math.ceil(width / most)));
}

function orWhole(frame, picture) {
  const { x, y, width, height } = frame;
  return x === 0 && y === 0 && width === picture.width && height === picture.height ? null : frame;
}

function overlap(own) {
  return Math.max(1, Math.round(own / 8));
}

/** One axis of a frame with its start or end moved, not yet of an allowed length; `ends` names both. */
function movedEdge({ start, length }, handle, ends, distance, own, picture, snap) {
  const reach = REACH * Math.max(picture.width, picture.height);
  const near = (edge, to) => (Math.abs(edge - to) <= snap ? to : edge);
  let end = start + length;
  if (handle.includes(ends[0])) {
    start = Math.round(clamp(near(start + distance, 0), -reach, own - overlap(own)));
  } else if (handle.includes(ends[1])) {
    end = Math.round(clamp(near(end + distance, own), overlap(own), own + reach));
  }
  return { start, length: end - start };
}

/** With a length that goes with the other side's; the edge that does not move stays. */
function withLength({ start, length }, startMoves, shortest, other, maxAspect) {
  const allowed = clamp(length, Math.max(shortest, Math.ceil(other / maxAspect)), Math.floor(other * maxAspect));
  return { start: startMoves ? start + length - allowed : start, length: allowed };
}

/** As the service scales what is too large or too small. */
function scaleInto({ min_side, max_side, max_pixels }, { width, height }) {
  const shrink = Math.min(1, max_side / Math.max(width, height), Math.sqrt(max_pixels / (width * height)));
  return shrink < 1 ? shrink : Math.max(1, min_side / Math.min(width, height));
}

/** One axis: what rounding to `side` takes away comes off the end that was moved farther. */
function placed(start, length, own, scale, side) {
  const [before, after] = [Math.abs(start), Math.abs(start + length - own)];
  const excess = length * scale - side;
  const share = before > after ? 1 : before < after ? 0 : 0.5;
  return { start: Math.round(-start * scale - excess * share) + 0, length: Math.round(own * scale) };
}

function clamp(value, least, most) {
  return Math.max(least, Math.min(value, most));
}
