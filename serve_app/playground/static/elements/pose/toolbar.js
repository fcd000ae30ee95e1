/** The editor's buttons. One that can do nothing now says so and keeps the focus. */

import { make, set, shape } from "./elements.js";
import { JOINTS } from "./skeleton.js";

const TOOLS = [ // in groups: the command, what it is called, and its icon
  [
    ["addPerson", "Add person", "M9 4a3 3 0 1 0 0 6 3 3 0 0 0 0-6M3 20c0-4 3-6 6-6s6 2 6 6M19 7v6M16 10h6"],
    ["removePerson", "Remove person", "M9 4a3 3 0 1 0 0 6 3 3 0 0 0 0-6M3 20c0-4 3-6 6-6s6 2 6 6M16 10h6"],
    ["mirror", "Mirror person", "M12 3v18M9 7 3 18h6zM15 7l6 11h-6z"],
    ["removeJoint", "Remove joint", "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14M9 12h6"],
  ],
  [
    ["undo", "Undo", "M8 5 4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11H9"],
    ["redo", "Redo", "M16 5l4 4-4 4M20 9H10a5.5 5.5 0 0 0 0 11h5"],
    ["reset", "Reset", "M5 5v5h5M5.5 10A7.5 7.5 0 1 1 4.5 14"],
  ],
  [
    ["togglePhoto", "Photo", "M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5L20 17M15 9h.01"],
    [
      "toggleHands", "Hands",
      "M7 13V7a1.5 1.5 0 0 1 3 0v4-6a1.5 1.5 0 0 1 3 0v6-4a1.5 1.5 0 0 1 3 0v8a5.5 5.5 0 0 1-10 3l-2-4z",
    ],
  ],
];

export class Toolbar {
  #buttons = {};
  #missing = make("select", { class: "pose-editor__select", "aria-label": "Restore a joint" });

  /** `commands`: a function for each tool, and `restoreJoint` for the joint that is chosen. */
  constructor(commands) {
    const groups = TOOLS.map((tools) => {
      for (const [command, ...tool] of tools) this.#buttons[command] = button(...tool, commands[command]);
      return make("div", { class: "pose-editor__group" }, ...tools.map(([command]) => this.#buttons[command]));
    });
    groups[0].append(this.#missing);
    this.#missing.addEventListener("change", (event) => {
      event.stopPropagation(); // it is no change of the pose yet
      commands.restoreJoint(Number(this.#missing.value));
    });
    this.element = make("div", { class: "pose-editor__toolbar", role: "group", "aria-label": "Pose tools" }, ...groups);
  }

  focus() {
    this.#buttons.addPerson.focus();
  }

  /**
   * By command: whether it is `possible` now, a toggle is `on`, or has nothing to show and is `useless`; and the joints
   * that are `missing`.
   */
  update({ possible, on, useless, missing }) {
    for (const [command, element] of Object.entries(this.#buttons)) {
      const isToggle = command in on;
      set(element, {
        "aria-disabled": isToggle || possible[command] ? null : "true",
        "aria-pressed": isToggle ? String(on[command]) : null,
        hidden: Boolean(useless[command]),
      });
    }
    const options = missing.map((joint) => make("option", { value: joint }, JOINTS[joint]));
    this.#missing.replaceChildren(make("option", { value: "" }, "Restore…"), ...options);
    this.#missing.disabled = missing.length === 0;
  }
}

function button(name, path, command) {
  const drawing = shape("path", { d: path });
  const icon = shape("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", class: "pose-editor__icon" }, drawing);
  const label = make("span", { class: "pose-editor__label" }, name);
  const element = make("button", { type: "button", class: "pose-editor__button", title: name }, icon, label);
  element.addEventListener("click", () => element.getAttribute("aria-disabled") || command());
  return element;
}
