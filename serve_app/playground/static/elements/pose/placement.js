/**
 * How a canvas lies in a picture of another shape: whole, centred and in its proportions, as the service fits a photo.
 * Pure.
 */

/** `{scale, left, top}`: where the canvas lies in a picture of `size`. */
export function placement(canvas, size) {
  const scale = Math.min(size.width / canvas.width, size.height / canvas.height);
  return { scale, left: (size.width - canvas.width * scale) / 2, top: (size.height - canvas.height * scale) / 2 };
}

/** People of the canvas in pixels of the picture. */
export function placed(people, { scale, left, top }) {
  return people.map((person) => mapped(person, ({ x, y }) => ({ x: left + x * scale, y: top + y * scale })));
}

/** People of the picture in pixels of the canvas. */
export function lifted(people, { scale, left, top }) {
  return people.map((person) => mapped(person, ({ x, y }) => ({ x: (x - left) / scale, y: (y - top) / scale })));
}

/** A rectangle of the canvas, in pixels of the picture. */
export function placedArea({ x, y, width, height }, { scale, left, top }) {
  return { x: left + x * scale, y: top + y * scale, width: width * scale, height: height * scale };
}

/** The person with every point that is seen put where `move` says. */
export function mapped(person, move) {
  const all = (points) => points.map((point) => point && move(point));
  return { body: all(person.body), left: all(person.left), right: all(person.right) };
}
