// The frame on the stage, with a handle at each edge and corner, for pointers and for arrow keys.

import { arrowOf, make } from "./dom.js";
import { HANDLES } from "./frame.js";
import { watchDrag } from "./gestures.js";

const NAMES = { n: "top", e: "right", s: "bottom", w: "left" };
export const FAST = 8; // steps at a time, with Shift

export class FrameHandles {
  /**
   * `element` lies on the stage. Calls of `handlers`: start(); move(handle, dx, dy), in CSS pixels since start; end();
   * step(handle, stepsAcross, stepsDown), of a key.
   */
  constructor(handlers) {
    const handles = HANDLES.map((name) => handleOf(name, handlers));
    // An application, so that screen readers leave the arrow keys to it.
    const properties = { className: "mask-editor__frame", role: "application", "aria-label": "Edges of the frame" };
    this.element = make("div", properties, ...handles);
  }

  /** Lays it over {x, y, width, height}, in CSS pixels of the stage. */
  place({ x, y, width, height }) {
    const { style } = this.element;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  }
}

function handleOf(name, handlers) {
  const label = `${[...name].map((letter) => NAMES[letter]).join(" ")} ${name.length > 1 ? "corner" : "edge"}`;
  const handle = make("button", {
    type: "button",
    className: `mask-editor__handle mask-editor__handle--${name}`,
    title: `Drag the ${label}, or move it by arrow keys`,
    "aria-label": `Frame: ${label}`,
  });
  watchDrag(handle, { ...handlers, move: (dx, dy) => handlers.move(name, dx, dy) });
  handle.addEventListener("keydown", (event) => {
    const arrow = arrowOf(event);
    if (arrow) {
      event.preventDefault();
      const [across, down] = arrow.map((steps) => steps * (event.shiftKey ? FAST : 1));
      handlers.step(name, /[we]/.test(name) ? across : 0, /[ns]/.test(name) ? down : 0);
    }
  });
  return handle;
}
