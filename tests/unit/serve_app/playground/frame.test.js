import assert from "node:assert/strict";
import test from "node:test";
import {
  HANDLES,
  layout,
  misfit,
  moved,
  outline,
  preset,
  PRESETS,
  resized,
} from "../../../../serve_app/playground/static/elements/frame.js";

const LIMITS = { min_side: 64, max_side: 2048, max_pixels: 2048 * 2048, max_aspect: 4, multiple: 8 };
const SMALL = { min_side: 256, max_side: 1024, max_pixels: 1024 * 1024, max_aspect: 2, multiple: 16 };
const PICTURE = { width: 640, height: 480 };

/** Numbers that look random and are the same each time: from, up to and with to. */
function numbers(seed) {
  let state = seed;
  return (from, to) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return from + (state % (to - from + 1));
  };
}

test("a picture within the limits keeps its size, whatever it is a multiple of", () => {
  const { width, height, scale, source } = layout({ width: 641, height: 479 }, null, LIMITS);
  assert.deepEqual([width, height, scale], [641, 479, 1]);
  assert.deepEqual(source, { x: 0, y: 0, width: 641, height: 479 });
});

test("a picture beyond the limits is scaled into them", () => {
  const sizeOf = (width, height, limits) => {
    const size = layout({ width, height }, null, limits);
    return [size.width, size.height];
  };
  assert.deepEqual(sizeOf(4096, 2048, LIMITS), [2048, 1024]);
  assert.deepEqual(sizeOf(3000, 2000, { ...LIMITS, max_pixels: 1500 * 1000 }), [1500, 1000]);
  assert.deepEqual(sizeOf(3000, 1777, SMALL)[0], 1024);
  assert.deepEqual(sizeOf(48, 32, LIMITS), [96, 64]);
});

test("a frame of the right size moves the picture and leaves its pixels", () => {
  const frame = { x: -160, y: -32, width: 960, height: 512 };
  assert.deepEqual(layout(PICTURE, frame, LIMITS), {
    width: 960,
    height: 512,
    scale: 1,
    source: { x: 160, y: 32, width: 640, height: 480 },
  });
});

test("what rounding takes away comes off the end that was moved farther", () => {
  const right = layout(PICTURE, { x: 0, y: 0, width: 709, height: 480 }, LIMITS);
  assert.deepEqual([right.width, right.source.x], [704, 0]);
  const left = layout(PICTURE, { x: -69, y: 0, width: 709, height: 480 }, LIMITS);
  assert.deepEqual([left.width, left.source.x], [704, 64]);
  const cropped = layout(PICTURE, { x: 69, y: 0, width: 571, height: 480 }, LIMITS);
  assert.deepEqual([cropped.width, cropped.source.x], [568, -72]);
});

test("a frame beyond the limits scales the picture", () => {
  const made = layout({ width: 1024, height: 1024 }, { x: -512, y: -512, width: 2048, height: 2048 }, SMALL);
  assert.deepEqual(made, {
    width: 1024,
    height: 1024,
    scale: 0.5,
    source: { x: 256, y: 256, width: 512, height: 512 },
  });
});

test("presets hold all of the picture, in their shape", () => {
  assert.equal(preset("whole", PICTURE, LIMITS), null);
  assert.deepEqual(preset("grown", PICTURE, LIMITS), { x: -160, y: -120, width: 960, height: 720 });
  assert.deepEqual(preset("square", PICTURE, LIMITS), { x: 0, y: -80, width: 640, height: 640 });
  assert.deepEqual(preset("wide", PICTURE, LIMITS), { x: -106, y: 0, width: 853, height: 480 });
  assert.deepEqual(preset("tall", PICTURE, LIMITS), { x: 0, y: -329, width: 640, height: 1138 });
  assert.equal(preset("square", { width: 512, height: 512 }, LIMITS), null);
});

test("each handle moves its own edges, and no other", () => {
  const start = { x: -100, y: -100, width: 840, height: 680 };
  for (const handle of HANDLES) {
    const frame = resized(start, handle, 10, 20, PICTURE, LIMITS);
    const dx = /[we]/.test(handle) ? 10 : 0;
    const dy = /[ns]/.test(handle) ? 20 : 0;
    assert.equal(frame.x, start.x + (handle.includes("w") ? dx : 0), handle);
    assert.equal(frame.y, start.y + (handle.includes("n") ? dy : 0), handle);
    assert.equal(frame.x + frame.width, 740 + (handle.includes("e") ? dx : 0), handle);
    assert.equal(frame.y + frame.height, 580 + (handle.includes("s") ? dy : 0), handle);
  }
});

test("an edge that comes near the picture's own lies on it, and a frame like the picture is none", () => {
  const out = resized(null, "e", 100, 0, PICTURE, LIMITS, 5);
  assert.equal(out.width, 740);
  assert.equal(resized(out, "e", -95, 0, PICTURE, LIMITS, 5), null);
  assert.equal(resized(out, "e", -90, 0, PICTURE, LIMITS, 5).width, 650);
});

test("a frame keeps to the longest shape, and to some of the picture", () => {
  assert.equal(resized(null, "e", 1e5, 0, PICTURE, LIMITS).width, 640 + 960);
  assert.equal(resized(null, "e", 1e5, 0, PICTURE, SMALL).width, 960);
  assert.deepEqual(resized(null, "w", 1e5, 0, PICTURE, LIMITS), { x: 520, y: 0, width: 120, height: 480 });
  const far = moved({ x: 0, y: 0, width: 200, height: 200 }, 1e5, -1e5, PICTURE, LIMITS);
  assert.deepEqual(far, { x: 560, y: -140, width: 200, height: 200 });
  assert.equal(moved(null, 0, 0, PICTURE, LIMITS), null);
});

test("the outline holds picture and frame", () => {
  assert.deepEqual(outline(PICTURE, null), { x: 0, y: 0, ...PICTURE });
  const frame = { x: -10, y: 20, width: 100, height: 500 };
  assert.deepEqual(outline(PICTURE, frame), { x: -10, y: 0, width: 650, height: 520 });
});

test("only a picture without a frame can be too long", () => {
  const strip = { width: 1000, height: 100 };
  assert.match(misfit(layout(strip, null, LIMITS), LIMITS), /4:1/);
  assert.equal(misfit(layout(strip, resized(null, "n", 0, -10, strip, LIMITS), LIMITS), LIMITS), null);
  assert.deepEqual(preset("grown", strip, LIMITS), { x: -250, y: -137, width: 1500, height: 375 });
  assert.equal(misfit(PICTURE, LIMITS), null);
});

test("a frame that was made for other limits is made wider or higher", () => {
  const { width, height, source } = layout(
    PICTURE,
    { x: 0, y: 0, width: 2000, height: 480 },
    { ...LIMITS, max_aspect: 2 },
  );
  assert.deepEqual([width, height, source.y], [2000, 1000, 260]);
});

test("whatever is dragged, the model takes it, and no sliver is left to paint", () => {
  const number = numbers(7);
  for (let round = 0; round < 3000; round++) {
    const limits = round % 2 ? LIMITS : SMALL;
    const picture = { width: number(20, 5000), height: number(20, 5000) };
    let frame = number(0, 1) ? preset(Object.keys(PRESETS)[number(0, 4)], picture, limits) : null;
    for (let step = 0; step < 3; step++) {
      const [dx, dy] = [number(-2000, 2000), number(-2000, 2000)];
      const handle = HANDLES[number(0, 7)];
      frame = number(0, 3) ? resized(frame, handle, dx, dy, picture, limits, 9) : moved(frame, dx, dy, picture, limits);
    }
    if (!frame) {
      continue;
    }
    const { width, height, source } = layout(picture, frame, limits);
    const told = JSON.stringify({ picture, frame, width, height, source });
    assert.equal(width % limits.multiple, 0, told);
    assert.equal(height % limits.multiple, 0, told);
    assert.ok(Math.min(width, height) >= limits.min_side && Math.max(width, height) <= limits.max_side, told);
    assert.ok(width * height <= limits.max_pixels, told);
    assert.ok(Math.max(width, height) <= limits.max_aspect * Math.min(width, height), told);
    assert.ok(frame.x < 0 || source.x <= 0, told);
    assert.ok(frame.y < 0 || source.y <= 0, told);
    assert.ok(frame.x + frame.width > picture.width || source.x + source.width >= width, told);
    assert.ok(frame.y + frame.height > picture.height || source.y + source.height >= height, told);
  }
});
