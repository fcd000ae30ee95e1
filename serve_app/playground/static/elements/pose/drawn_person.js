/**
 * One person on the stage: elements that stay while the person changes, so that the focus and a drag stay too.
 */

import { set, shape } from "./elements.js";
import {
  BONES, BONE_COLOURS, HANDS, HAND_JOINTS, HAND_JOINT_COLOUR, JOINTS, JOINT_COLOURS, LIMBS, LIMB_COLOURS,
} from "./skeleton.js";

export class DrawnPerson {
  #limbs = LIMBS.map((_, index) => shape("ellipse", { fill: css(LIMB_COLOURS[index]) }));
  #joints = JOINTS.map((_, index) => drawnJoint(index));
  #hands = Object.fromEntries(Object.keys(HANDS).map((side) => [side, new DrawnHand()]));

  constructor() {
    const hands = Object.values(this.#hands).map(({ element }) => element);
    this.element = shape("g", { role: "group" }, ...this.#limbs, ...hands, ...this.#joints);
  }

  /** The elements that have the focus in turn, by joint. */
  get joints() {
    return this.#joints;
  }

  /**
   * `name` is as in "person 1"; `reachable`: the joint that Tab comes to, or null; `widths`: of a limb and a joint, in
   * pixels of the picture.
   */
  draw(person, { name, isActive, withHands, reachable, widths }) {
    set(this.element, { "aria-label": name, class: `pose-editor__person${isActive ? "" : " is-behind"}` });
    LIMBS.forEach(([start, end], index) => {
      set(this.#limbs[index], bar(person.body[start], person.body[end], widths.limb));
    });
    person.body.forEach((point, joint) => {
      const element = this.#joints[joint];
      set(element, {
        display: point ? null : "none",
        transform: point && `translate(${point.x} ${point.y}) scale(${widths.joint})`,
        tabindex: joint === reachable ? 0 : -1,
        "aria-label": `${JOINTS[joint]} of ${name}`,
      });
    });
    for (const [side, hand] of Object.entries(this.#hands)) hand.draw(withHands ? person[side] : [], widths);
  }
}

class DrawnHand {
  #bones = BONE_COLOURS.map((colour) => shape("line", { stroke: css(colour) }));
  #joints = Array.from({ length: HAND_JOINTS }, () => shape("circle", { fill: css(HAND_JOINT_COLOUR) }));

  constructor() {
    this.element = shape("g", { "aria-hidden": "true" }, ...this.#bones, ...this.#joints);
  }

  draw(points, widths) {
    set(this.element, { display: points.length ? null : "none" });
    BONES.forEach(([start, end], index) => {
      const [from, to] = [points[start], points[end]];
      set(this.#bones[index], from && to
        ? { x1: from.x, y1: from.y, x2: to.x, y2: to.y, "stroke-width": widths.limb / 2, display: null }
        : { display: "none" });
    });
    this.#joints.forEach((joint, index) => {
      const point = points[index];
      set(joint, point ? { cx: point.x, cy: point.y, r: widths.joint / 2, display: null } : { display: "none" });
    });
  }
}

/** Of a radius of 1, around the origin. */
function drawnJoint(joint) {
  const circle = (name, r) => shape("circle", { class: `pose-editor__${name}`, r });
  const dot = shape("circle", { r: 1, fill: css(JOINT_COLOURS[joint]) });
  const attributes = { class: "pose-editor__joint", role: "button", "aria-roledescription": "joint" };
  return shape("g", attributes, circle("edge", 1.25), dot, circle("ring", 2));
}

/** OpenPose's limb: an ellipse from one joint to the other. */
function bar(start, end, width) {
  if (!start || !end) return { display: "none" };
  const [x, y] = [(start.x + end.x) / 2, (start.y + end.y) / 2];
  const turn = (Math.atan2(end.y - start.y, end.x - start.x) * 180) / Math.PI;
  const length = Math.hypot(end.x - start.x, end.y - start.y);
  return { cx: x, cy: y, rx: length / 2, ry: width / 2, transform: `rotate(${turn} ${x} ${y})`, display: null };
}

function css(colour) {
  return `rgb(${colour.join(" ")})`;
}
