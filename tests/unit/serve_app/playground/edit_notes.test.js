import assert from "node:assert/strict";
import test from "node:test";
import { describe, percent } from "../../../../serve_app/playground/static/elements/edit_notes.js";

const LIMITS = { min_side: 64, max_side: 2048, max_pixels: 2048 * 2048, max_aspect: 4, multiple: 8 };

function told({ width = 640, height = 480, bytes = 1000, frame = null, coverage = 0, mode = "mask" } = {}) {
  const picture = { width, height, file: { size: bytes } };
  const { size, notes, problem } = describe({ picture, frame, coverage }, mode, LIMITS, 2000);
  return { size, text: notes.join(" "), problem };
}

test("what to do comes first, and then what will come of it", () => {
  assert.match(told().text, /Paint over .* the whole picture may change/);
  assert.match(told({ coverage: 0.12 }).text, /^12 % is marked/);
  assert.match(told({ mode: "frame" }).text, /^Drag an edge/);
  const extended = { x: -64, y: 0, width: 704, height: 480 };
  assert.match(told({ frame: extended }).text, /hatched will be painted/);
  assert.equal(told({ frame: extended }).size, "704 × 480");
  assert.match(told({ frame: { x: 64, y: 0, width: 512, height: 480 } }).text, /Paint over/);
});

test("whatever is not sent as it is, is told", () => {
  assert.doesNotMatch(told().text, /fit|large/);
  assert.match(told({ width: 4096 }).text, /Reduced from 4096 × 480 to fit this model/);
  assert.match(told({ width: 48, height: 32 }).text, /Enlarged from 48 × 32/);
  assert.match(told({ bytes: 2001 }).text, /too large to be sent as it is/);
  assert.match(told({ frame: { x: 0, y: 0, width: 2560, height: 1920 } }).text, /scaled to 80 %/);
});

test("a shape that the model refuses is a problem", () => {
  assert.equal(told().problem, null);
  assert.match(told({ width: 2000, height: 300 }).problem, /4:1/);
});

test("a share is never called nothing, unless it is", () => {
  assert.deepEqual([0, 0.0001, 0.125, 1].map(percent), ["0 %", "less than 1 %", "13 %", "100 %"]);
});
