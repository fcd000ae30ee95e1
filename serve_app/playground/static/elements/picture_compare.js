// <picture-compare>: a picture before and after a change, one over the other, with a divider to drag between them.
//
// show(before, after, text, { offset }) takes two addresses and what the picture shows. Both are fitted alike: `before`
// lies in the middle of `after`, as large as fits, or at `offset`, {x, y, width, height} in fractions of `after`. Its
// style sheet, picture_compare.css, is the page's to link.

import { make } from "./dom.js";

class PictureCompare extends HTMLElement {
  #after = make("img", { className: "picture-compare__picture", draggable: false });
  #before = make("img", { className: "picture-compare__before", alt: "", draggable: false });
  #range = make("input", {
    className: "picture-compare__range",
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    value: 50,
  });
  #view = make(
    "div",
    { className: "picture-compare__view" },
    this.#after,
    make(
      "div",
      { className: "picture-compare__cut" },
      make("div", { className: "picture-compare__ground" }),
      this.#before,
    ),
    make("span", { className: "picture-compare__name", "aria-hidden": "true" }, "Before"),
    make("span", { className: "picture-compare__name picture-compare__name--after", "aria-hidden": "true" }, "After"),
    make(
      "label",
      { className: "picture-compare__label" },
      "How much of the picture is shown as it was before",
      this.#range,
    ),
    make(
      "div",
      { className: "picture-compare__divider", "aria-hidden": "true" },
      make("span", { className: "picture-compare__knob" }),
    ),
  );
  #showing = null;

  connectedCallback() {
    if (this.firstChild) {
      return;
    }
    this.append(this.#view);
    this.#range.addEventListener("input", () => this.#divide(Number(this.#range.value)));
    this.#view.addEventListener("pointerdown", (event) => this.#startDrag(event));
    this.#view.addEventListener("pointermove", (event) => this.#drag(event));
    this.#divide(50);
  }

  /** Resolves when both are seen; raises an Error where one cannot be loaded. Of several calls, the last one counts. */
  async show(before, after, text, { offset = null } = {}) {
    const showing = (this.#showing = Symbol("showing"));
    const [old, now] = await Promise.all([loaded(before), loaded(after)]);
    if (showing !== this.#showing) {
      return;
    }
    this.#before.src = before;
    this.#after.src = after;
    this.#after.alt = text;
    this.#view.style.aspectRatio = `${now.naturalWidth} / ${now.naturalHeight}`;
    this.#view.style.setProperty("--shape", String(now.naturalWidth / now.naturalHeight));
    const { x, y, width, height } = offset ?? centred(old, now);
    const { style } = this.#before;
    [style.left, style.top, style.width, style.height] = [x, y, width, height].map((share) => `${100 * share}%`);
    this.#divide(50);
  }

  #startDrag(event) {
    if (event.button === 0) {
      this.#view.setPointerCapture(event.pointerId);
      this.#drag(event);
      this.#range.focus({ preventScroll: true });
      event.preventDefault(); // the focus would leave again
    }
  }

  #drag(event) {
    if (this.#view.hasPointerCapture(event.pointerId)) {
      const { left, width } = this.#view.getBoundingClientRect();
      this.#divide((100 * (event.clientX - left)) / width);
    }
  }

  /** Shows `before` up to a place, in percent of the width. */
  #divide(place) {
    const percent = Math.max(0, Math.min(place, 100));
    this.#range.value = percent; // in whole steps, which a drag is too fine for
    this.#range.setAttribute("aria-valuetext", `${Math.round(percent)} % before`);
    this.#view.style.setProperty("--divider", `${percent}%`);
  }
}

async function loaded(address) {
  const image = new Image();
  image.src = address;
  try {
    await image.decode();
  } catch {
    throw new Error("A picture to compare could not be loaded.");
  }
  return image;
}

/** Where `old` lies in `now`, as large as fits and in the middle. */
function centred(old, now) {
  const scale = Math.min(now.naturalWidth / old.naturalWidth, now.naturalHeight / old.naturalHeight);
  const width = (old.naturalWidth * scale) / now.naturalWidth;
  const height = (old.naturalHeight * scale) / now.naturalHeight;
  return { x: (1 - width) / 2, y: (1 - height) / 2, width, height };
}

customElements.define("picture-compare", PictureCompare);
