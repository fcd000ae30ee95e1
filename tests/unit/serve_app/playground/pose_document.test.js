import assert from "node:assert/strict";
import test from "node:test";
import { moved } from "../../../../serve_app/playground/static/elements/pose/editing.js";
import { PoseDocument } from "../../../../serve_app/playground/static/elements/pose/pose_document.js";
import { standing } from "../../../../serve_app/playground/static/elements/pose/skeleton.js";

const PHOTO = { width: 200, height: 100 };
const SQUARE = { width: 400, height: 400 };
const TALL = { width: 400, height: 800 };
const FOUND = [standing(PHOTO)];
const noseOf = ({ people }) => people[0].body[0];

function opened(size = SQUARE) {
  const pose = new PoseDocument(size);
  pose.load(FOUND, PHOTO, "data:photo");
  return pose;
}

test("a photo of another shape lies inside, with its people", () => {
  const pose = opened();
  assert.deepEqual(pose.photo, { url: "data:photo", x: 0, y: 100, width: 400, height: 200 });
  const { x, y } = FOUND[0].body[0];
  assert.deepEqual(noseOf(pose), { x: 2 * x, y: 100 + 2 * y });
});

test("trying another size and coming back changes nothing", () => {
  const pose = opened();
  const before = pose.people;
  pose.size = { width: 64, height: 512 };
  assert.notDeepEqual(pose.people, before);
  pose.size = SQUARE;
  assert.deepEqual(pose.people, before);
  pose.size = { width: 64, height: 512 };
  pose.edit(moved(pose.people, 0, { x: 4, y: 4 }, pose.size, [1]));
  pose.size = SQUARE;
  const { x, y } = before[0].body[0];
  const distance = Math.hypot(noseOf(pose).x - x, noseOf(pose).y - y);
  assert.ok(distance < 1e-9, "nor does a joint that was moved there change another one");
});

test("whoever leaves the photo is kept where they are, and the photo where it is", () => {
  const pose = opened();
  const { photo } = pose;
  pose.edit(moved(pose.people, 0, { x: 0, y: -9999 }, SQUARE, [0]));
  assert.equal(noseOf(pose).y, 0);
  assert.deepEqual(pose.photo, photo);
  pose.size = TALL;
  assert.equal(noseOf(pose).y, 200);
  assert.deepEqual(pose.photo, { ...photo, y: 300 });
  pose.size = { width: 400, height: 200 };
  assert.equal(noseOf(pose).y, 0);
});

test("edits are undone one by one, and done again", () => {
  const pose = opened();
  const shifts = [0, 1, 2].map((steps) => {
    if (steps) pose.edit(moved(pose.people, 0, { x: 10, y: 0 }, SQUARE, [0]));
    return noseOf(pose).x;
  });
  pose.undo();
  assert.equal(noseOf(pose).x, shifts[1]);
  pose.undo();
  assert.equal(noseOf(pose).x, shifts[0]);
  pose.redo();
  pose.redo();
  assert.equal(noseOf(pose).x, shifts[2]);
  assert.equal(pose.canRedo, false);
  pose.undo();
  pose.edit(FOUND);
  assert.equal(pose.canRedo, false);
});

test("steps of one movement are undone at once", () => {
  const pose = opened();
  const before = noseOf(pose).x;
  for (let press = 0; press < 3; press += 1) {
    pose.edit(moved(pose.people, 0, { x: 10, y: 0 }, SQUARE, [0]), "nose");
  }
  pose.edit(moved(pose.people, 0, { x: 10, y: 0 }, SQUARE, [1]), "neck");
  pose.undo();
  assert.ok(Math.abs(noseOf(pose).x - before - 30) < 1e-9);
  pose.undo();
  assert.equal(noseOf(pose).x, before);
  for (let round = 0; round < 2; round += 1) {
    pose.edit(moved(pose.people, 0, { x: 10, y: 0 }, SQUARE, [0]), "nose");
    pose.undo();
    assert.equal(noseOf(pose).x, before, "what was undone is no part of what comes after");
  }
});

test("it goes back to what was loaded last, and that can be undone", () => {
  const pose = opened();
  assert.equal(pose.canReset, false);
  pose.edit([]);
  assert.equal(pose.canReset, true);
  pose.reset();
  assert.equal(pose.people.length, 1);
  pose.undo();
  assert.deepEqual(pose.people, []);
  pose.undo();
  pose.undo();
  assert.deepEqual([pose.people, pose.photo, pose.canUndo], [[], null, false]);
});
