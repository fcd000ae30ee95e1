// Keys to what they mean on the stage: arrows move, Space or Enter paints, for as long as it is held.

import { arrowOf } from "./dom.js";

/** Calls of `handlers`: focus(), blur(), move(stepsAcross, stepsDown, isFast), press(), release(). */
export function watchKeys(element, handlers) {
  const isPaint = ({ key }) => key === " " || key === "Enter";
  let isHeld = false;
  const release = () => {
    if (isHeld) {
      isHeld = false;
      handlers.release();
    }
  };
  element.addEventListener("keydown", (event) => {
    const arrow = arrowOf(event);
    if (event.ctrlKey || event.metaKey || event.altKey || !(arrow || isPaint(event))) {
      return;
    }
    event.preventDefault(); // the page would scroll
    if (arrow) {
      handlers.move(...arrow, event.shiftKey);
    } else if (!isHeld) {
      isHeld = true;
      handlers.press();
    }
  });
  element.addEventListener("keyup", (event) => isPaint(event) && release());
  element.addEventListener("focus", () => element.matches(":focus-visible") && handlers.focus());
  element.addEventListener("blur", () => {
    release();
    handlers.blur();
  });
}

/** The command that a key calls for anywhere in the editor, or null. */
export function shortcutOf({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  const letter = key.toLowerCase();
  if (ctrlKey || metaKey) {
    if (letter === "z") {
      return shiftKey ? "redo" : "undo";
    }
    return letter === "y" ? "redo" : null;
  }
  const commands = {
    b: "brush",
    e: "eraser",
    f: "frame",
    i: "invert",
    delete: "clear",
    "[": "thinner",
    "]": "wider",
    "+": "closer",
    "=": "closer",
    "-": "farther",
    0: "fit",
  };
  return altKey ? null : (commands[letter] ?? null);
}
