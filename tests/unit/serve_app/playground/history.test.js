import assert from "node:assert/strict";
import test from "node:test";
import { History } from "../../../../serve_app/playground/static/elements/history.js";

const STROKE = { kind: "stroke", erases: false, radius: 4, points: [{ x: 1, y: 2 }] };
const FRAME = { x: -8, y: 0, width: 72, height: 64 };

test("what is undone can be done again, until something else is done", () => {
  const history = new History();
  assert.equal(history.undo(), undefined);
  history.add(STROKE);
  history.add({ kind: "invert" });
  assert.deepEqual(history.undo(), { kind: "invert" });
  assert.deepEqual(history.operations, [STROKE]);
  assert.ok(history.canUndo && history.canRedo);
  assert.deepEqual(history.redo(), { kind: "invert" });
  assert.equal(history.operations.length, 2);
  history.undo();
  history.add({ kind: "clear" });
  assert.equal(history.canRedo, false);
  assert.deepEqual(history.operations, [STROKE, { kind: "clear" }]);
});

test("a stroke that is dropped cannot be done again", () => {
  const history = new History();
  history.add(STROKE);
  history.drop();
  assert.ok(!history.canUndo && !history.canRedo);
});

test("the frame is that of the last change, and goes with it", () => {
  const history = new History();
  assert.equal(history.frame, null);
  history.add({ kind: "frame", frame: FRAME });
  history.add(STROKE);
  assert.deepEqual(history.frame, FRAME);
  history.add({ kind: "frame", frame: null });
  assert.equal(history.frame, null);
  history.undo();
  assert.deepEqual(history.frame, FRAME);
});

test("a frame alone does not touch the mask", () => {
  const history = new History();
  history.add({ kind: "frame", frame: FRAME });
  assert.equal(history.touchesMask, false);
  history.add({ kind: "invert" });
  assert.equal(history.touchesMask, true);
});
