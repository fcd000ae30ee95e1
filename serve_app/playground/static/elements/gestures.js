// Mouse, touch and pen to what they mean on the stage: one pointer draws, two fingers zoom and pan, as do the middle
// button and the wheel with Ctrl, which is also what a touch pad sends.
//
// Places are {x, y} in CSS pixels from the element's corner. Every `start` is followed by one `end` or `cancel`.

const WHEEL = 0.002; // zoom by a notch of 100: about a fifth

/**
 * Calls `handlers` for what happens on `element`: start(place), move([place, …]), end(), cancel(), hover(place or
 * null), zoom(factor, place), pan(dx, dy), which tells whether anything could be moved.
 */
export function watchGestures(element, handlers) {
  const pointers = new Map();
  let action = null; // "draw", "pan" or "pinch"

  const placeOf = ({ clientX, clientY }) => {
    const { left, top } = element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  };

  element.addEventListener("pointerdown", (event) => {
    const isDrawing = event.button === 0;
    if (pointers.size >= 2 || (!isDrawing && event.button !== 1)) {
      return;
    }
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event));
    if (action === "draw") {
      handlers.cancel(); // a second finger came: it was no stroke
    }
    if (pointers.size === 2) {
      action = "pinch";
    } else {
      action = isDrawing ? "draw" : "pan";
    }
    if (action === "draw") {
      handlers.start(placeOf(event));
    } else {
      event.preventDefault(); // the middle button would scroll the page
    }
    handlers.hover(action === "draw" ? placeOf(event) : null);
  });

  element.addEventListener("pointermove", (event) => {
    const place = placeOf(event);
    const before = pointers.get(event.pointerId);
    if (before && action === "draw") {
      const all = event.getCoalescedEvents?.() ?? [];
      handlers.move((all.length ? all : [event]).map(placeOf));
    } else if (before && action === "pan") {
      handlers.pan(place.x - before.x, place.y - before.y);
    } else if (before && action === "pinch") {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      pinch(before, place, other);
    }
    if (before) {
      pointers.set(event.pointerId, place);
    }
    handlers.hover(action === null || action === "draw" ? place : null);
  });

  function pinch(before, after, other) {
    const distance = (a, b) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    const [from, to] = [middle(before, other), middle(after, other)];
    handlers.zoom(distance(after, other) / distance(before, other), from);
    handlers.pan(to.x - from.x, to.y - from.y);
  }

  const leave = (event, finish) => {
    if (!pointers.delete(event.pointerId)) {
      return;
    }
    if (action === "draw") {
      finish();
    }
    action = action === "pinch" && pointers.size === 1 ? "rest" : null; // the finger that stays draws nothing
  };
  element.addEventListener("pointerup", (event) => leave(event, handlers.end));
  element.addEventListener("pointercancel", (event) => leave(event, handlers.cancel));
  element.addEventListener("pointerleave", () => handlers.hover(null));

  element.addEventListener(
    "wheel",
    (event) => {
      const moves = event.ctrlKey
        ? handlers.zoom(Math.exp(-event.deltaY * WHEEL), placeOf(event))
        : handlers.pan(-event.deltaX, -event.deltaY);
      if (moves || event.ctrlKey) {
        event.preventDefault(); // else the page scrolls, as when all of the picture is seen
      }
    },
    { passive: false },
  );
}

/** The drag of one element: calls start(), move(dx, dy) in CSS pixels since then, and end(). */
export function watchDrag(element, { start, move, end }) {
  let from = null;
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || from) {
      return;
    }
    element.setPointerCapture(event.pointerId);
    from = { id: event.pointerId, x: event.clientX, y: event.clientY };
    start();
  });
  element.addEventListener("pointermove", (event) => {
    if (from?.id === event.pointerId) {
      move(event.clientX - from.x, event.clientY - from.y);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => {
      if (from?.id === event.pointerId) {
        from = null;
        end();
      }
    });
  }
}
