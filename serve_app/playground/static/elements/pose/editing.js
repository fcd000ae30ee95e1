/** What can be done to people in a picture. Pure: each function returns new people, all of them within the picture. */

import { mapped } from "./placement.js";
import { FIGURE, FIGURES_WIDTH, HANDS, JOINTS, LIMBS, from, otherSide, standing, towardsNeck } from "./skeleton.js";

export const MOST_PEOPLE = 32; // in a request
const NECK = 1;
const HEAD = from(0);
const EVERY_JOINT = JOINTS.map((_, joint) => joint);
const LIMBS_REACH = 0.6; // of a joint's, which lie in the way

/** What lies at `point`: the nearest joint within `reach`, else the nearest limb, else null. */
export function found(people, point, reach) {
  let nearest = null;

  function offer(distance, most, what) {
    if (distance <= most && !(nearest?.distance <= distance)) nearest = { ...what, distance };
  }

  people.forEach(({ body }, person) => body.forEach((joint, index) => {
    if (joint) offer(Math.hypot(joint.x - point.x, joint.y - point.y), reach, { person, joint: index });
  }));
  if (nearest) return nearest;
  people.forEach(({ body }, person) => LIMBS.forEach(([start, end], limb) => {
    if (!body[start] || !body[end]) return;
    offer(distanceToLine(point, body[start], body[end]), LIMBS_REACH * reach, { person, limb });
  }));
  return nearest;
}

/** The joints that move with a limb: those of the rest of the arm, leg or head; with the trunk everything. */
export function joinedBy(limb) {
  const [start, end] = LIMBS[limb];
  if (HEAD.includes(end)) return HEAD;
  return start === NECK ? EVERY_JOINT : [start, ...from(end)];
}

/** What moves with a limb, in words. */
export function partName(limb) {
  const moving = joinedBy(limb);
  if (moving === EVERY_JOINT) return "all";
  if (moving === HEAD) return "head";
  const [side, kind] = JOINTS[LIMBS[limb][1]].split(" ");
  return `${side} ${["elbow", "wrist"].includes(kind) ? "arm" : "leg"}`;
}

/** With `joints` of a person, and the hands of those that are wrists, moved as far as none leaves the picture. */
export function moved(people, person, by, size, joints = EVERY_JOINT) {
  const moving = new Set(joints);
  const parts = Object.keys(HANDS).filter((side) => moving.has(HANDS[side]));
  const before = people[person];
  const points = [...joints.map((joint) => before.body[joint]), ...parts.flatMap((side) => before[side])];
  const { x, y } = bounded(points.filter(Boolean), by, size);
  const shifted = (point) => point && { x: point.x + x, y: point.y + y };
  const after = { ...before, body: before.body.map((point, joint) => (moving.has(joint) ? shifted(point) : point)) };
  for (const side of parts) after[side] = before[side].map(shifted);
  return replaced(people, person, after);
}

/** Without a joint, and without the hand of a wrist. */
export function withoutJoint(people, person, joint) {
  const before = people[person];
  const after = { ...before, body: before.body.map((point, each) => (each === joint ? null : point)) };
  for (const side of Object.keys(HANDS)) if (HANDS[side] === joint) after[side] = [];
  return replaced(people, person, after);
}

/** With a joint that was not seen, where it would be if the person stood. */
export function withJoint(people, person, joint, size) {
  const { body } = people[person];
  const start = nearestSeen(body, joint);
  const scale = scaleOf(body) ?? 0.8 * size.height;
  const at = start === undefined ? standing(size).body[joint] : {
    x: body[start].x + scale * (FIGURE[joint].x - FIGURE[start].x),
    y: body[start].y + scale * (FIGURE[joint].y - FIGURE[start].y),
  };
  const point = { x: clamped(at.x, 0, size.width), y: clamped(at.y, 0, size.height) };
  const after = { ...people[person], body: body.map((each, index) => (index === joint ? point : each)) };
  return replaced(people, person, after);
}

/** As a mirror shows the person, who stays where they are: what the left side did the right side does. */
export function mirrored(people, person) {
  const before = people[person];
  const across = [...before.body, ...before.left, ...before.right].filter(Boolean).map(({ x }) => x);
  const sum = Math.min(...across) + Math.max(...across);
  const turned = mapped(before, ({ x, y }) => ({ x: sum - x, y }));
  const body = turned.body.map((_, joint) => turned.body[otherSide(joint)]);
  return replaced(people, person, { body, left: turned.right, right: turned.left });
}

/** With one more, who stands where there is room, or most of it. */
export function withPerson(people, size) {
  const taken = people.map(({ body }) => body.filter(Boolean)).filter((body) => body.length).map(middleOf);
  const enough = FIGURES_WIDTH * size.height;
  const room = (place) => Math.min(enough, ...taken.map((x) => Math.abs(x - place * size.width)));
  const places = [0.5, 0.25, 0.75, 0.125, 0.875, 0.375, 0.625];
  return [...people, standing(size, places.reduce((best, place) => (room(place) > room(best) ? place : best)))];
}

export function withoutPerson(people, person) {
  return people.filter((_, index) => index !== person);
}

function replaced(people, person, after) {
  return people.map((each, index) => (index === person ? after : each));
}

function bounded(points, by, size) {
  const limit = (values, wanted, most) => clamped(wanted, -Math.min(...values), most - Math.max(...values));
  if (!points.length) return { x: 0, y: 0 };
  return {
    x: limit(points.map(({ x }) => x), by.x, size.width),
    y: limit(points.map(({ y }) => y), by.y, size.height),
  };
}

function nearestSeen(body, joint) {
  for (let at = towardsNeck(joint); at !== undefined; at = towardsNeck(at)) if (body[at]) return at;
  return [...from(joint), ...EVERY_JOINT].find((each) => body[each]);
}

/** The height of a standing figure whose limbs are as long, on average; undefined where no limb is seen. */
function scaleOf(body) {
  const scales = LIMBS.filter(([start, end]) => body[start] && body[end])
    .map(([start, end]) => distance(body[start], body[end]) / distance(FIGURE[start], FIGURE[end]));
  return scales.length ? scales.reduce((sum, each) => sum + each, 0) / scales.length : undefined;
}

function middleOf(points) {
  return points.reduce((sum, { x }) => sum + x, 0) / points.length;
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

function distanceToLine(point, start, end) {
  const along = { x: end.x - start.x, y: end.y - start.y };
  const length = along.x ** 2 + along.y ** 2;
  const share = length ? ((point.x - start.x) * along.x + (point.y - start.y) * along.y) / length : 0;
  const nearest = clamped(share, 0, 1);
  return distance(point, { x: start.x + nearest * along.x, y: start.y + nearest * along.y });
}

function clamped(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
