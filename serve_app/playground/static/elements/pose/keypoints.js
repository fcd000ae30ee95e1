/**
 * OpenPose's JSON, as the service speaks it, to people and back. Pure.
 *
 * A person is `{body, left, right}`: 18 points of the body and 21, or none, of each hand; a point is `{x, y}` in pixels
 * of a canvas, or null where it is not seen.
 */

import { HAND_JOINTS, JOINTS } from "./skeleton.js";

const FIELDS = { body: "pose_keypoints_2d", left: "hand_left_keypoints_2d", right: "hand_right_keypoints_2d" };

/** `{people, canvas}` of a pose; without a canvas it is in fractions of a picture of `size`. Throws TypeError. */
export function read(pose, size) {
  if (!Array.isArray(pose?.people)) throw new TypeError("A pose is an object of OpenPose's JSON, with `people`.");
  const isInPixels = Boolean(pose.canvas_width && pose.canvas_height);
  const canvas = isInPixels ? { width: pose.canvas_width, height: pose.canvas_height } : size;
  const scale = isInPixels ? { x: 1, y: 1 } : { x: size.width, y: size.height };

  function points(numbers, count, name) {
    if (numbers.length !== 3 * count) throw new TypeError(`${name} must have ${3 * count} numbers.`);
    return Array.from({ length: count }, (_, joint) => {
      const [x, y, confidence] = numbers.slice(3 * joint, 3 * joint + 3);
      const point = { x: x * scale.x, y: y * scale.y };
      return confidence > 0 && x !== null && y !== null && isWithin(point, canvas) ? point : null;
    });
  }

  function hand(numbers, name) {
    return numbers?.length ? points(numbers, HAND_JOINTS, name) : [];
  }

  const people = pose.people.map((person) => ({
    body: points(person[FIELDS.body] ?? [], JOINTS.length, FIELDS.body),
    left: hand(person[FIELDS.left], FIELDS.left),
    right: hand(person[FIELDS.right], FIELDS.right),
  }));
  return { people, canvas };
}

/** The pose of people in a picture of `size`; null where nothing is seen. Without hands unless `withHands`. */
export function written(people, size, withHands) {
  const seen = people.filter((person) => person.body.some(Boolean) || (withHands && hasHands(person)));
  if (!seen.length) return null;
  return {
    people: seen.map((person) => ({
      [FIELDS.body]: numbers(person.body),
      [FIELDS.left]: withHands && person.left.length ? numbers(person.left) : null,
      [FIELDS.right]: withHands && person.right.length ? numbers(person.right) : null,
    })),
    canvas_width: size.width,
    canvas_height: size.height,
  };
}

export function hasHands(person) {
  return [...person.left, ...person.right].some(Boolean);
}

export function isWithin(point, size) {
  return 0 <= point.x && point.x <= size.width && 0 <= point.y && point.y <= size.height;
}

function numbers(points) {
  return points.flatMap((point) => (point ? [point.x, point.y, 1] : [0, 0, 0]));
}
