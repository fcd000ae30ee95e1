import assert from "node:assert/strict";
import { test } from "node:test";
import { EventReader, progressOf } from "../../../../serve_app/playground/static/scripts/logic/sse.js";

const STREAM =
  ': picture 0: waiting\n\nevent: image_generation.completed\ndata: {"a":1}\n\n: \n\ndata: one\ndata: two\n\n';
const TOLD = [
  { comment: "picture 0: waiting" },
  { event: "image_generation.completed", data: '{"a":1}' },
  { event: "message", data: "one\ntwo" },
];

test("a stream is read the same in pieces of any size", () => {
  for (let size = 1; size <= STREAM.length; size += 1) {
    const reader = new EventReader();
    const told = [];
    for (let at = 0; at < STREAM.length; at += size) told.push(...reader.read(STREAM.slice(at, at + size)));
    assert.deepEqual(told, TOLD);
  }
});

test("what is not complete is not told", () => {
  assert.deepEqual(new EventReader().read("data: half\n"), []);
});

test("lines may end as in a file of Windows", () => {
  assert.deepEqual(new EventReader().read("data: a\r\n\r\n"), [{ event: "message", data: "a" }]);
});

test("progress is read from comments", () => {
  const nothing = { picture: 0, waiting: true, ahead: 0, step: 0, steps: 0, secondsLeft: null };
  assert.deepEqual(progressOf("picture 0: waiting"), nothing);
  assert.deepEqual(progressOf("picture 0: waiting behind 3, about 12 s left"), {
    ...nothing,
    ahead: 3,
    secondsLeft: 12,
  });
  const step = { picture: 2, waiting: false, ahead: 0, step: 3, steps: 8, secondsLeft: 2.1 };
  assert.deepEqual(progressOf("picture 2: step 3 of 8, about 2.1 s left"), step);
  assert.deepEqual(progressOf("picture 0: step 3 of 8, about 1.2e+06 s left").secondsLeft, 1.2e6);
  assert.equal(progressOf("ping"), null);
});
