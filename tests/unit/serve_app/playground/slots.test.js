import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutDeleted } from "../../../../serve_app/playground/static/scripts/logic/slots.js";

const slot = (id) => ({ progress: null, preview: null, kept: id && { id }, isDeleted: false });
const run = (status, ...ids) => ({ status, slots: ids.map(slot) });

test("a deleted picture leaves its run, and the others keep their places", () => {
  const [left] = withoutDeleted([run("running", "a", "b", null)], [{ id: "b" }]);
  assert.deepEqual(
    left.slots.map(({ kept, isDeleted }) => [kept?.id ?? null, isDeleted]),
    [
      [null, true],
      ["b", false],
      [null, false],
    ],
  );
});

test("a run that has ended well goes with its last picture", () => {
  const runs = [run("done", "a", "b"), run("running", "c"), run("failed", "d")];
  assert.deepEqual(
    withoutDeleted(runs, [{ id: "b" }]).map(({ status }) => status),
    ["done", "running", "failed"],
  );
  assert.deepEqual(
    withoutDeleted(withoutDeleted(runs, [{ id: "b" }]), []).map(({ status }) => status),
    ["running", "failed"],
  );
});

test("where none was deleted nothing is drawn anew", () => {
  const runs = [run("done", "a"), run("running", null)];
  assert.equal(withoutDeleted(runs, [{ id: "a" }, { id: "other" }]), runs);
});
