import assert from "node:assert/strict";
import test from "node:test";
import { Brush } from "../../../../serve_app/playground/static/elements/brush.js";

test("from a point to much of the picture, in equal shares", () => {
  const brush = new Brush();
  const widths = [-5, 0, 50, 100, 200].map((size) => {
    brush.resize(size);
    return 2 * brush.radius({ width: 500, height: 1000 });
  });
  assert.deepEqual(widths.map(Math.round), [4, 4, 40, 400, 400]);
});

test("never narrower than a pixel", () => {
  const brush = new Brush();
  brush.resize(0);
  assert.equal(brush.radius({ width: 10, height: 10 }), 0.5);
});
