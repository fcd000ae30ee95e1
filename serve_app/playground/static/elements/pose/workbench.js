/**
 * What a person works on: the stage, its tools and gestures over one document, with who is active and what was said.
 *
 * Invariants: the active joint is one that is seen, or there is none; the focus stays in the editor whatever goes.
 */

import { MOST_PEOPLE, mirrored, withJoint, withPerson, withoutJoint, withoutPerson } from "./editing.js";
import { make, set } from "./elements.js";
import { Gestures } from "./gestures.js";
import { hasHands } from "./keypoints.js";
import { PoseDocument } from "./pose_document.js";
import { JOINTS, towardsNeck } from "./skeleton.js";
import { Stage, headCount } from "./stage.js";
import { Toolbar } from "./toolbar.js";

const HELP = "Drag a joint, or a limb with what hangs on it; the trunk takes the whole person along. A joint that is "
  + "clicked or tapped twice is removed.";
const HELP_WITH_KEYS = " Shift takes the whole person, too. Arrow keys move a joint (Shift: farther), Page Up and Page "
  + "Down choose another one, Delete removes it.";
let count = 0; // of workbenches, whose help has an id

export class Workbench {
  #document;
  #changed;
  #stage = new Stage();
  #toolbar = new Toolbar({
    addPerson: () => this.#addPerson(),
    removePerson: () => this.#removePerson(),
    mirror: () => this.edit(mirrored(this.people, this.#active.person), `${this.#who} mirrored`),
    removeJoint: () => this.removeJoint(),
    restoreJoint: (joint) => this.#restoreJoint(joint),
    undo: () => this.#travel("undo"),
    redo: () => this.#travel("redo"),
    reset: () => this.#travel("reset"),
    togglePhoto: () => this.#toggle("photo"),
    toggleHands: () => this.#toggle("hands"),
  });
  #status = make("p", { class: "pose-editor__status", role: "status" }, "nobody here yet");
  #active = null; // {person, joint}
  #preview = null; // people amid a drag
  #shown = { photo: true, hands: true };

  /** `changed` is called when a person has changed the pose. */
  constructor(size, changed) {
    this.#document = new PoseDocument(size);
    this.#changed = changed;
    new Gestures(this.#stage, this);
    const keys = make("span", { class: "pose-editor__keys" }, HELP_WITH_KEYS);
    const help = make("p", { class: "pose-editor__help", id: `pose-editor-help-${(count += 1)}` }, HELP, keys);
    const frame = make("div", { class: "pose-editor__frame" }, this.#stage.element);
    set(this.#stage.element, { "aria-describedby": help.id });
    // Not to the stage itself, which Chromium would then let Tab come to.
    frame.addEventListener("focusin", ({ target }) => this.#choose(this.#stage.holderOf(target)));
    this.elements = [this.#toolbar.element, frame, this.#status, help];
  }

  get size() {
    return this.#document.size;
  }

  set size(size) {
    this.#document.size = size;
    this.draw();
  }

  /** In pixels of the picture. */
  get people() {
    return this.#document.people;
  }

  get active() {
    return this.#active;
  }

  get showsHands() {
    return this.#shown.hands;
  }

  /** See PoseDocument.load. */
  load(people, canvas, photoUrl) {
    this.#document.load(people, canvas, photoUrl);
    this.#shown = { photo: true, hands: true };
    this.#choose(null);
    this.say(`${headCount(people.length)} here`);
  }

  edit(people, said, step) {
    this.#document.edit(people, step);
    this.draw();
    this.say(said);
    this.#changed();
  }

  /** Shows people who are not kept yet; null: those that are. */
  preview(people) {
    this.#preview = people;
    this.draw();
  }

  say(text, { isError = false } = {}) {
    set(this.#status, { class: `pose-editor__status${isError ? " is-error" : ""}` });
    this.#status.textContent = text;
  }

  /** Makes a joint the active one, with the focus. */
  activate(active) {
    this.#choose(active);
    this.#stage.focus(this.#active);
  }

  /** The joint that comes so many places after the active one, from person to person. */
  activateNext(steps) {
    const all = this.people.flatMap(({ body }, person) => seenIn(body).map((joint) => ({ person, joint })));
    const at = all.findIndex(({ person, joint }) => person === this.#active.person && joint === this.#active.joint);
    this.activate(all.at((at + steps) % all.length));
  }

  removeJoint() {
    const { person, joint } = this.#active;
    const after = withoutJoint(this.people, person, joint);
    const isLast = !after[person].body.some(Boolean);
    this.edit(isLast ? withoutPerson(after, person) : after, `${JOINTS[joint]} of person ${person + 1} removed`);
  }

  /** Undoes and does again by the usual keys. */
  shortcut(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    const command = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : null;
    if (!command) return;
    event.preventDefault();
    this.#travel(command);
  }

  /** Which joint it is and where, in words. */
  describe({ person, joint }, people) {
    const { x, y } = people[person].body[joint];
    return `${JOINTS[joint]} of person ${person + 1}: ${Math.round(x)} across, ${Math.round(y)} down`;
  }

  draw() {
    const { size, photo, canUndo, canRedo, canReset } = this.#document;
    const people = this.#preview ?? this.people;
    const focused = this.#stage.holderOf(document.activeElement);
    this.#active = nearestSeen(people, this.#active);
    const { photo: showsPhoto, hands: withHands } = this.#shown;
    const active = this.#active ?? {};
    this.#stage.draw({ size, people, photo: showsPhoto ? photo : null, active, withHands });
    const possible = { addPerson: people.length < MOST_PEOPLE, undo: canUndo, redo: canRedo, reset: canReset };
    for (const command of ["removePerson", "mirror", "removeJoint"]) possible[command] = this.#active !== null;
    this.#toolbar.update({
      possible,
      on: { togglePhoto: showsPhoto, toggleHands: withHands },
      useless: { togglePhoto: !photo, toggleHands: !people.some(hasHands) },
      missing: this.#active ? JOINTS.flatMap((_, joint) => (people[active.person].body[joint] ? [] : [joint])) : [],
    });
    if (focused && !this.#active) this.#toolbar.focus();
    else if (focused && (focused.person !== active.person || focused.joint !== active.joint)) this.#stage.focus(active);
  }

  get #who() {
    return `Person ${this.#active.person + 1}`;
  }

  #choose(active) {
    this.#active = active;
    this.draw();
  }

  #addPerson() {
    const after = withPerson(this.people, this.size);
    this.#active = { person: after.length - 1, joint: 0 };
    this.edit(after, `Person ${after.length} added`);
  }

  #removePerson() {
    this.edit(withoutPerson(this.people, this.#active.person), `${this.#who} removed`);
  }

  #restoreJoint(joint) {
    const { person } = this.#active;
    const after = withJoint(this.people, person, joint, this.size);
    this.edit(after, `${JOINTS[joint]} of person ${person + 1} restored`);
    this.activate({ person, joint });
  }

  #travel(command) {
    const { canUndo: undo, canRedo: redo, canReset: reset } = this.#document;
    if (!{ undo, redo, reset }[command]) return;
    this.#document[command]();
    this.draw();
    this.say({ undo: "Undone", redo: "Done again", reset: "As it was at first" }[command]);
    this.#changed();
  }

  #toggle(what) {
    this.#shown[what] = !this.#shown[what];
    this.draw();
    if (what === "hands") this.#changed();
  }
}

function seenIn(body) {
  return JOINTS.flatMap((_, joint) => (body[joint] ? [joint] : []));
}

/** The active joint where it is seen, else the next one towards the neck, else any; null where there is nobody. */
function nearestSeen(people, active) {
  if (!people.some(({ body }) => body.some(Boolean))) return null;
  const isSeen = ({ body }) => body.some(Boolean);
  const wanted = Math.min(active?.person ?? 0, people.length - 1);
  const person = isSeen(people[wanted]) ? wanted : people.findIndex(isSeen);
  const { body } = people[person];
  let joint = active?.joint ?? 0;
  while (joint !== undefined && !body[joint]) joint = towardsNeck(joint);
  return { person, joint: joint ?? body.findIndex(Boolean) };
}
