// The editor's buttons: what there is, how it is named, and how it looks in a given state.

import { make } from "./dom.js";
import { PRESETS } from "./frame.js";
import { icon } from "./icons.js";

const TOOLS = [
  { name: "brush", label: "Brush", title: "Mark what is to be repainted (B)" },
  { name: "eraser", label: "Eraser", title: "Unmark (E)" },
  { name: "frame", label: "Extend", title: "Extend or crop the picture (F)" },
];
const HISTORY = [
  { name: "undo", title: "Undo (Ctrl+Z)" },
  { name: "redo", title: "Redo (Ctrl+Shift+Z)" },
];
const MASK = [
  { name: "invert", title: "Invert the mask (I)" },
  { name: "clear", title: "Clear the mask (Delete)" },
];
const ZOOM = [
  { name: "farther", title: "Zoom out (−)" },
  { name: "fit", title: "Zoom to fit (0)" },
  { name: "closer", title: "Zoom in (+)" },
];

export class Toolbar {
  #buttons = new Map();
  #size;
  #sizeText = make("span", { className: "mask-editor__size-text", "aria-hidden": "true" });
  #brushOptions;
  #frameOptions;

  /** `element` goes above the stage, `zoom` below. Calls press(name), preset(name), resize(0 to 100), of the brush. */
  constructor({ press, preset, resize }) {
    const tool = (spec) => this.#button(spec, press, icon(spec.name));
    const presets = Object.entries(PRESETS).map(([name, spec]) => this.#button({ name, ...spec }, preset));
    this.#brushOptions = make(
      "div",
      { className: "mask-editor__options" },
      this.#sizeControl(resize),
      group("Mask", MASK.map(tool)),
    );
    this.#frameOptions = group("Frame", presets);
    this.#frameOptions.classList.add("mask-editor__presets");
    this.zoom = group("Zoom", ZOOM.map(tool));
    this.element = make(
      "div",
      { className: "mask-editor__toolbar" },
      group("Tool", TOOLS.map(tool)),
      group("History", HISTORY.map(tool)),
      this.#brushOptions,
      this.#frameOptions,
    );
  }

  #button({ name, label, title }, act, ...children) {
    const button = make("button", { type: "button", className: "mask-editor__button", title }, ...children);
    if (label) {
      button.append(make("span", {}, label));
    } else {
      button.setAttribute("aria-label", title.replace(/ \(.*/, ""));
    }
    button.addEventListener("click", () => button.getAttribute("aria-disabled") !== "true" && act(name));
    this.#buttons.set(name, button);
    return button;
  }

  #sizeControl(resize) {
    const range = (this.#size = make("input", { type: "range", min: 0, max: 100, step: 1 }));
    range.addEventListener("input", () => resize(range.valueAsNumber));
    range.addEventListener("change", (event) => event.stopPropagation()); // the editor's own is about the picture
    const title = "Brush size ([ and ])";
    return make("label", { className: "mask-editor__size", title }, make("span", {}, "Size"), range, this.#sizeText);
  }

  /** `tool` in use; `preset` of the frame, if any; `disabled`: which are, by name; `size`: 0 to 100, and in words. */
  update({ tool, preset, disabled, size, sizeText }) {
    for (const { name } of TOOLS) {
      this.#buttons.get(name).setAttribute("aria-pressed", name === tool);
    }
    for (const name of Object.keys(PRESETS)) {
      this.#buttons.get(name).setAttribute("aria-pressed", name === preset);
    }
    for (const { name } of [...HISTORY, ...MASK, ...ZOOM]) {
      this.#buttons.get(name).setAttribute("aria-disabled", Boolean(disabled[name])); // and stays where the focus is
    }
    this.#brushOptions.hidden = tool === "frame";
    this.#frameOptions.hidden = tool !== "frame";
    this.#size.value = size;
    this.#size.setAttribute("aria-valuetext", sizeText);
    this.#sizeText.textContent = sizeText;
  }
}

function group(name, buttons) {
  return make("div", { className: "mask-editor__group", role: "group", "aria-label": name }, ...buttons);
}
