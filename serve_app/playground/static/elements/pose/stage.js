/** The picture to be made, in black, with the photo and the people on it, and what lies where on the screen. */

import { DrawnPerson } from "./drawn_person.js";
import { set, shape } from "./elements.js";

const WIDTHS = { limb: 8, joint: 4 }; // as the service draws them, in pixels of the picture
const SEEN_WIDTHS = { limb: 6, joint: 5 }; // that are good to see, on the screen
const WIDTHS_SHARE = { limb: 0.035, joint: 0.03 }; // that they may have of a small person at most
const REACH = 22; // of a finger or a mouse around a joint, on the screen

export class Stage {
  #ground = shape("rect", { class: "pose-editor__ground" });
  #photo = shape("image", { class: "pose-editor__photo", "aria-hidden": "true" });
  #people = [];

  constructor() {
    this.element = shape("svg", { class: "pose-editor__stage", role: "application" }, this.#ground, this.#photo);
  }

  /** Pixels of the picture to one of the screen. */
  get unit() {
    const { width, height } = this.element.viewBox.baseVal;
    return Math.max(width / (this.element.clientWidth || width), height / (this.element.clientHeight || height));
  }

  /** How far from a joint a pointer still means it, in pixels of the picture. */
  get reach() {
    return REACH * this.unit;
  }

  /** Where a pointer is, in pixels of the picture. */
  pointAt({ clientX, clientY }) {
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(this.element.getScreenCTM().inverse());
    return { x, y };
  }

  /** `photo`: as PoseDocument's; `active`: `{person, joint}`, who is edited and the joint that Tab comes to. */
  draw({ size, people, photo, active, withHands }) {
    const area = { x: 0, y: 0, width: size.width, height: size.height };
    const label = `Pose in a picture of ${size.width} by ${size.height}: ${headCount(people.length)}`;
    set(this.element, { viewBox: `0 0 ${size.width} ${size.height}`, "aria-label": label });
    this.element.style.setProperty("--_aspect", size.width / size.height);
    set(this.#ground, area);
    set(this.#photo, photo ? { ...photo, url: null, href: photo.url, display: null } : { display: "none" });
    while (this.#people.length > people.length) this.#people.pop().element.remove();
    while (this.#people.length < people.length) {
      this.#people.push(new DrawnPerson());
      this.element.append(this.#people.at(-1).element);
    }
    people.forEach((person, index) => {
      const isActive = index === active.person;
      const reachable = isActive ? active.joint : null;
      const widths = this.#widthsFor(person);
      this.#people[index].draw(person, { name: `person ${index + 1}`, isActive, withHands, reachable, widths });
    });
  }

  #widthsFor({ body }) {
    const seen = body.filter(Boolean);
    const reach = (values) => Math.max(...values) - Math.min(...values);
    const extent = seen.length ? Math.max(reach(seen.map(({ x }) => x)), reach(seen.map(({ y }) => y))) : 0;
    const wanted = (part) => Math.min(SEEN_WIDTHS[part] * this.unit, WIDTHS_SHARE[part] * extent);
    return { limb: Math.max(WIDTHS.limb, wanted("limb")), joint: Math.max(WIDTHS.joint, wanted("joint")) };
  }

  focus({ person, joint }) {
    this.#people[person]?.joints[joint].focus({ preventScroll: true });
  }

  /** The `{person, joint}` that an element of the stage belongs to, or null. */
  holderOf(element) {
    for (const [person, { joints }] of this.#people.entries()) {
      const joint = joints.indexOf(element);
      if (joint >= 0) return { person, joint };
    }
    return null;
  }
}

export function headCount(count) {
  return ["nobody", "one person"][count] ?? `${count} people`;
}
