import assert from "node:assert/strict";
import test from "node:test";
import { read, written } from "../../../../serve_app/playground/static/elements/pose/keypoints.js";
import { standing } from "../../../../serve_app/playground/static/elements/pose/skeleton.js";

const SIZE = { width: 512, height: 768 };
const HAND = Array.from({ length: 21 }, (_, index) => ({ x: index, y: 2 * index }));
const numbers = (first, count = 18) => [...first, ...Array(3 * (count - 1)).fill(0)];

test("what is written is read again", () => {
  const people = [{ ...standing(SIZE), left: HAND }, standing(SIZE, 0.2)];
  people[1].body[3] = null;
  const pose = written(people, SIZE, true);
  assert.deepEqual([pose.canvas_width, pose.canvas_height], [512, 768]);
  assert.equal(pose.people[0].pose_keypoints_2d.length, 54);
  assert.equal(pose.people[0].hand_left_keypoints_2d.length, 63);
  assert.equal(pose.people[0].hand_right_keypoints_2d, null);
  assert.deepEqual(read(JSON.parse(JSON.stringify(pose)), { width: 1, height: 1 }), { people, canvas: SIZE });
});

test("hands are left out where they are not wanted", () => {
  const pose = written([{ ...standing(SIZE), left: HAND }], SIZE, false);
  assert.equal(pose.people[0].hand_left_keypoints_2d, null);
});

test("nobody is no pose", () => {
  assert.equal(written([], SIZE, true), null);
  assert.equal(written([{ body: Array(18).fill(null), left: [], right: [] }], SIZE, true), null);
});

test("without a canvas it is in fractions of the picture", () => {
  const { people, canvas } = read({ people: [{ pose_keypoints_2d: numbers([0.5, 0.25, 1]) }] }, SIZE);
  assert.deepEqual(people[0].body[0], { x: 256, y: 192 });
  assert.deepEqual(canvas, SIZE);
});

test("a joint that is unseen or outside is none", () => {
  for (const first of [[10, 20, 0], [10, 20, null], [null, 20, 1], [-1, 20, 1], [10, 769, 1]]) {
    const pose = { people: [{ pose_keypoints_2d: numbers(first) }], canvas_width: 512, canvas_height: 768 };
    assert.equal(read(pose, SIZE).people[0].body[0], null, String(first));
  }
});

test("what is no pose is refused", () => {
  for (const pose of [{}, { people: 1 }, { people: [{}] }, { people: [{ pose_keypoints_2d: [1, 2, 3] }] }]) {
    assert.throws(() => read(pose, SIZE), TypeError);
  }
});
