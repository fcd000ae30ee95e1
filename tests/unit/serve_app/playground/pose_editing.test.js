import assert from "node:assert/strict";
import test from "node:test";
import * as editing from "../../../../serve_app/playground/static/elements/pose/editing.js";
import { JOINTS, LIMBS, otherSide, standing } from "../../../../serve_app/playground/static/elements/pose/skeleton.js";

const SIZE = { width: 400, height: 600 };
const FIGURE = standing(SIZE);
const [NECK, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST, LEFT_KNEE] = [
  "neck", "left shoulder", "left elbow", "left wrist", "left knee",
].map((name) => JOINTS.indexOf(name));
const WITH_HAND = { ...FIGURE, left: Array.from({ length: 21 }, (_, index) => ({ x: 330 + index, y: 330 })) };
const limb = (start, end) => LIMBS.findIndex((pair) => pair[0] === start && pair[1] === end);
const changed = (before, after) => JOINTS.flatMap((_, joint) => {
  const [a, b] = [before.body[joint], after.body[joint]];
  return a?.x === b?.x && a?.y === b?.y ? [] : [joint];
});

test("a figure stands in the middle of any picture, and all of it", () => {
  for (const [width, height] of [[400, 600], [1024, 1024], [300, 1200], [1200, 300]]) {
    const size = { width, height };
    const { body } = standing(size);
    assert.equal(body.length, 18);
    assert.ok(body.every(({ x, y }) => 0 <= x && x <= size.width && 0 <= y && y <= size.height));
    assert.equal(body[NECK].x, size.width / 2);
    assert.ok(body[LEFT_WRIST].x > body[NECK].x, "the person's left is to the right");
  }
});

test("the nearest joint within reach is found, before any limb", () => {
  const { x, y } = FIGURE.body[LEFT_ELBOW];
  const { person, joint } = editing.found([FIGURE], { x: x + 6, y: y + 8 }, 10);
  assert.deepEqual([person, joint], [0, LEFT_ELBOW]);
  assert.equal(editing.found([FIGURE], { x: x + 60, y }, 10), null);
  const nearer = editing.moved([FIGURE], 0, { x: 3, y: 0 }, SIZE);
  assert.equal(editing.found([FIGURE, ...nearer], { x: x + 2, y }, 20).person, 1);
});

test("a limb is found between its joints", () => {
  const [knee, ankle] = [FIGURE.body[LEFT_KNEE], FIGURE.body[LEFT_KNEE + 1]];
  const middle = { x: (knee.x + ankle.x) / 2 + 4, y: (knee.y + ankle.y) / 2 };
  assert.equal(editing.found([FIGURE], middle, 10).limb, limb(LEFT_KNEE, LEFT_KNEE + 1));
  assert.equal(editing.found(editing.withoutJoint([FIGURE], 0, LEFT_KNEE), middle, 10), null);
});

test("a limb takes along what hangs on it", () => {
  assert.deepEqual(editing.joinedBy(limb(LEFT_SHOULDER, LEFT_ELBOW)), [LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST]);
  assert.deepEqual(editing.joinedBy(limb(LEFT_ELBOW, LEFT_WRIST)), [LEFT_ELBOW, LEFT_WRIST]);
  assert.deepEqual([...editing.joinedBy(limb(14, 16))].sort((a, b) => a - b), [0, 14, 15, 16, 17]);
  assert.equal(editing.joinedBy(limb(NECK, LEFT_SHOULDER)).length, 18);
  assert.equal(editing.partName(limb(LEFT_ELBOW, LEFT_WRIST)), "left arm");
  assert.equal(editing.partName(limb(8, 9)), "right leg");
  assert.equal(editing.partName(limb(1, 0)), "head");
  assert.equal(editing.partName(limb(1, 8)), "all");
});

test("what is moved stays within the picture, and the rest where it was", () => {
  const [joint] = editing.moved([FIGURE], 0, { x: 10, y: -20 }, SIZE, [LEFT_ELBOW]);
  assert.deepEqual(changed(FIGURE, joint), [LEFT_ELBOW]);
  assert.deepEqual(joint.body[LEFT_ELBOW], { x: FIGURE.body[LEFT_ELBOW].x + 10, y: FIGURE.body[LEFT_ELBOW].y - 20 });
  const [far] = editing.moved([FIGURE], 0, { x: 9999, y: -9999 }, SIZE, [LEFT_ELBOW]);
  assert.deepEqual(far.body[LEFT_ELBOW], { x: 400, y: 0 });
  const [whole] = editing.moved([FIGURE], 0, { x: 9999, y: 0 }, SIZE);
  assert.equal(Math.max(...whole.body.map(({ x }) => x)), 400);
  const apart = (body) => body[LEFT_WRIST].x - body[NECK].x;
  assert.ok(Math.abs(apart(whole.body) - apart(FIGURE.body)) < 1e-9);
});

test("a hand moves with its wrist, and keeps it in the picture", () => {
  const [moved] = editing.moved([WITH_HAND], 0, { x: 5, y: 7 }, SIZE, [LEFT_WRIST]);
  assert.deepEqual(moved.left[20], { x: 355, y: 337 });
  const [elbow] = editing.moved([WITH_HAND], 0, { x: 5, y: 7 }, SIZE, [LEFT_ELBOW]);
  assert.deepEqual(elbow.left, WITH_HAND.left);
  const [far] = editing.moved([WITH_HAND], 0, { x: 999, y: 0 }, SIZE, [LEFT_WRIST]);
  assert.equal(far.left[20].x, 400);
});

test("a joint goes, with its hand, and comes back about where it was", () => {
  const [without] = editing.withoutJoint([WITH_HAND], 0, LEFT_WRIST);
  assert.deepEqual([without.body[LEFT_WRIST], without.left], [null, []]);
  assert.deepEqual(changed(WITH_HAND, without), [LEFT_WRIST]);
  const [back] = editing.withJoint([without], 0, LEFT_WRIST, SIZE);
  assert.ok(Math.abs(back.body[LEFT_WRIST].x - FIGURE.body[LEFT_WRIST].x) < 1e-6);
  assert.ok(Math.abs(back.body[LEFT_WRIST].y - FIGURE.body[LEFT_WRIST].y) < 1e-6);
  const body = JOINTS.map((_, joint) => (joint === LEFT_WRIST ? { x: 399, y: 599 } : null));
  const only = { body, left: [], right: [] };
  for (const joint of JOINTS.keys()) {
    const { x, y } = editing.withJoint([only], 0, joint, SIZE)[0].body[joint];
    assert.ok(0 <= x && x <= 400 && 0 <= y && y <= 600, JOINTS[joint]);
  }
});

test("a mirror changes the sides and not the place, and twice it changes nothing", () => {
  const raised = editing.moved([WITH_HAND], 0, { x: 20, y: -150 }, SIZE, [LEFT_WRIST]);
  const [mirrored] = editing.mirrored(raised, 0);
  const right = mirrored.body[otherSide(LEFT_WRIST)];
  assert.equal(right.y, raised[0].body[LEFT_WRIST].y);
  assert.ok(right.x < mirrored.body[NECK].x);
  assert.deepEqual([mirrored.left.length, mirrored.right.length], [0, 21]);
  const [again] = editing.mirrored([mirrored], 0);
  again.body.forEach(({ x, y }, joint) => {
    assert.ok(Math.hypot(x - raised[0].body[joint].x, y - raised[0].body[joint].y) < 1e-9);
  });
});

test("people are added where there is room, and removed", () => {
  const wide = { width: 1200, height: 400 };
  const three = editing.withPerson(editing.withPerson(editing.withPerson([], wide), wide), wide);
  assert.deepEqual(three.map(({ body }) => body[NECK].x), [600, 300, 900]);
  assert.deepEqual(editing.withoutPerson(three, 0), three.slice(1));
});

test("nothing that is given is changed", () => {
  const frozen = structuredClone(WITH_HAND);
  for (const points of Object.values(frozen)) points.forEach(Object.freeze);
  const people = Object.freeze([Object.freeze(frozen)]);
  editing.moved(people, 0, { x: 1, y: 1 }, SIZE);
  editing.withoutJoint(people, 0, LEFT_WRIST);
  editing.withJoint(people, 0, LEFT_WRIST, SIZE);
  editing.mirrored(people, 0);
  assert.deepEqual(people, [WITH_HAND]);
});
