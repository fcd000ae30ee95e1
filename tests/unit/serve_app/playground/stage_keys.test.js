import assert from "node:assert/strict";
import test from "node:test";
import { shortcutOf } from "../../../../serve_app/playground/static/elements/stage_keys.js";

test("keys are commands, the browser's own excepted", () => {
  const command = (key, modifiers = {}) => shortcutOf({ key, ...modifiers });
  assert.equal(command("z", { ctrlKey: true }), "undo");
  assert.equal(command("Z", { metaKey: true, shiftKey: true }), "redo");
  assert.equal(command("y", { ctrlKey: true }), "redo");
  assert.equal(command("["), "thinner");
  assert.equal(command("]"), "wider");
  assert.equal(command("E"), "eraser");
  assert.equal(command("0"), "fit");
  for (const [key, modifiers] of [
    ["z"],
    ["Tab"],
    ["b", { ctrlKey: true }],
    ["-", { ctrlKey: true }],
    ["f", { altKey: true }],
  ]) {
    assert.equal(command(key, modifiers), null, key);
  }
});
