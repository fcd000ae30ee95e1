/**
 * What fingers, mice, pens and keys do on the stage: a joint is dragged, a limb takes the rest of the arm, leg or head
 * along, the trunk or Shift the whole person; a double click removes a joint.
 *
 * Invariants: one drag at a time, of the pointer that began it; where nothing is to be dragged the page scrolls.
 */

import { found, joinedBy, moved, partName } from "./editing.js";
import { JOINTS, LIMBS } from "./skeleton.js";

const BEGINS_AFTER = 3; // pixels of the screen
const DOUBLE_WITHIN = 400; // milliseconds
const KEY_STEPS = { plain: 1 / 128, shift: 10 / 128 }; // of the picture's shorter side
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Gestures {
  #stage;
  #editor;
  #drag = null;
  #isTaken = false; // whether the pointer that came down last met something
  #lastTap = null;

  /** `editor` is told what happened; see pose_editor.js, which is the only one. */
  constructor(stage, editor) {
    this.#stage = stage;
    this.#editor = editor;
    const { element } = stage;
    element.addEventListener("pointerdown", (event) => this.#begin(event));
    element.addEventListener("pointermove", (event) => this.#go(event));
    element.addEventListener("pointerup", (event) => this.#end(event));
    element.addEventListener("pointercancel", (event) => this.#end(event, { isCancelled: true }));
    element.addEventListener("keydown", (event) => this.#key(event));
    // These come after the pointer's own event. A mouse would take the focus from the joint, which may lie beside it; a
    // finger would scroll the page.
    element.addEventListener("mousedown", (event) => this.#isTaken && event.preventDefault());
    element.addEventListener("touchstart", (event) => this.#isTaken && event.preventDefault(), { passive: false });
  }

  #begin(event) {
    if (event.button !== 0 || this.#drag) return;
    const { people } = this.#editor;
    const point = this.#stage.pointAt(event);
    const what = found(people, point, this.#stage.reach);
    this.#isTaken = what !== null;
    if (!what) return;
    const joint = what.joint ?? LIMBS[what.limb][1];
    this.#editor.activate({ person: what.person, joint });
    if (this.#isSecondTap(event, what)) {
      this.#editor.removeJoint();
      return;
    }
    this.#stage.element.setPointerCapture(event.pointerId);
    const moving = event.shiftKey ? { name: "all" } : takenAlong(what);
    this.#drag = { pointer: event.pointerId, start: point, people, person: what.person, after: null, ...moving };
  }

  #isSecondTap(event, { person, joint }) {
    const before = this.#lastTap;
    this.#lastTap = { person, joint, at: event.timeStamp };
    const isSecond = joint !== undefined && before?.person === person && before.joint === joint
      && event.timeStamp - before.at < DOUBLE_WITHIN;
    if (isSecond) this.#lastTap = null;
    return isSecond;
  }

  #go(event) {
    const drag = this.#drag;
    if (event.pointerId !== drag?.pointer) return;
    const { x, y } = this.#stage.pointAt(event);
    const by = { x: x - drag.start.x, y: y - drag.start.y };
    if (!drag.after && Math.hypot(by.x, by.y) < BEGINS_AFTER * this.#stage.unit) return;
    this.#lastTap = null;
    drag.after = moved(drag.people, drag.person, by, this.#editor.size, drag.joints);
    this.#editor.preview(drag.after);
  }

  #end(event, { isCancelled = false } = {}) {
    const drag = this.#drag;
    if (event.pointerId !== drag?.pointer) return;
    this.#drag = null;
    this.#editor.preview(null);
    if (drag.after && !isCancelled) this.#editor.edit(drag.after, `${called(drag.name, drag.person)} moved`);
  }

  #cancel() {
    this.#drag = null;
    this.#editor.preview(null);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTaken = this.#arrow(event) || this.#command(event.key);
    if (isTaken) event.preventDefault();
  }

  #arrow({ key, shiftKey }) {
    const direction = ARROWS[key];
    const active = this.#editor.active;
    if (!direction || !active) return false;
    const { people, size } = this.#editor;
    const step = Math.max(1, Math.min(size.width, size.height) * KEY_STEPS[shiftKey ? "shift" : "plain"]);
    const by = { x: step * direction[0], y: step * direction[1] };
    const after = moved(people, active.person, by, size, [active.joint]);
    this.#editor.edit(after, this.#editor.describe(active, after), `${active.person} ${active.joint}`);
    return true;
  }

  #command(key) {
    const editor = this.#editor;
    const commands = {
      Delete: () => editor.removeJoint(),
      Backspace: () => editor.removeJoint(),
      PageDown: () => editor.activateNext(1),
      PageUp: () => editor.activateNext(-1),
      Enter: () => editor.say(editor.describe(editor.active, editor.people)),
      " ": () => editor.say(editor.describe(editor.active, editor.people)),
      Escape: () => this.#cancel(),
    };
    if (!editor.active || !Object.hasOwn(commands, key) || (key === "Escape" && !this.#drag)) return false;
    commands[key]();
    return true;
  }
}

/** What is dragged with a joint or a limb. */
function takenAlong({ joint, limb }) {
  if (joint !== undefined) return { joints: [joint], name: JOINTS[joint] };
  return { joints: joinedBy(limb), name: partName(limb) };
}

function called(name, person) {
  return name === "all" ? `Person ${person + 1}` : `${name} of person ${person + 1}`;
}
