import assert from "node:assert/strict";
import test from "node:test";
import { Viewport } from "../../../../serve_app/playground/static/elements/viewport.js";

const STAGE = { width: 400, height: 300 };
const PICTURE = { x: 0, y: 0, width: 800, height: 800 };

function fitted(bounds = PICTURE) {
  const viewport = new Viewport();
  viewport.fit(STAGE, bounds, 10);
  return viewport;
}

test("all is seen, in the middle, with a margin", () => {
  const viewport = fitted();
  assert.equal(viewport.scale, 0.35);
  assert.deepEqual(viewport.toScreen({ x: 0, y: 0 }), { x: 60, y: 10 });
  assert.deepEqual(viewport.toPicture({ x: 200, y: 150 }), { x: 400, y: 400 });
  const extended = fitted({ x: -800, y: 0, width: 1600, height: 800 });
  assert.deepEqual(extended.toScreen({ x: 0, y: 400 }), { x: 200, y: 150 });
  assert.ok(viewport.isFitted && !viewport.isClosest);
});

test("zooming leaves what is below the pointer where it is", () => {
  const viewport = fitted();
  const point = { x: 150, y: 120 };
  const before = viewport.toPicture(point);
  viewport.zoom(3, point);
  const after = viewport.toPicture(point);
  assert.ok(Math.hypot(after.x - before.x, after.y - before.y) < 1e-9);
  assert.ok(!viewport.isFitted);
});

test("zooming out ends where all is seen, and zooming in where single pixels are", () => {
  const viewport = fitted();
  viewport.zoom(1e6);
  assert.ok(viewport.isClosest);
  assert.equal(viewport.scale, 8);
  viewport.zoom(0);
  assert.ok(viewport.isFitted);
  assert.deepEqual(viewport.toScreen({ x: 0, y: 0 }), { x: 60, y: 10 });
});

test("a picture cannot be lost from sight", () => {
  const viewport = fitted();
  viewport.pan(1e6, 1e6);
  assert.deepEqual(viewport.toScreen({ x: 0, y: 0 }), { x: 60, y: 10 });
  viewport.zoom(4);
  viewport.pan(1e6, -1e6);
  assert.equal(viewport.toScreen({ x: 0, y: 0 }).x, 10);
  assert.equal(viewport.toScreen({ x: 0, y: 800 }).y, 290);
});

test("a place is brought into sight", () => {
  const viewport = fitted();
  viewport.zoom(8);
  for (const place of [
    { x: 0, y: 0 },
    { x: 800, y: 800 },
    { x: 10, y: 790 },
  ]) {
    viewport.reveal(place);
    const { x, y } = viewport.toScreen(place);
    assert.ok(x >= -1e-9 && x <= 400 + 1e-9 && y >= -1e-9 && y <= 300 + 1e-9, JSON.stringify({ x, y }));
  }
});
