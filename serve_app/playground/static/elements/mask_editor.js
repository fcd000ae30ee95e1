// <mask-editor>: marks what of a picture is to be repainted, and extends or crops it; by pointer or by keys alone.
//
// Properties: `limits`, a model's, as /v1/models has them, with `multiple` for size_multiple; `maxBytes`, of a file;
// `mode`, "mask" or "frame"; `size`, of what will be made, or null. Methods: open(file, mask), close(), result(). Fires
// `change` when what `result` returns may have changed. Shows nothing while no picture is open. Its style sheet,
// mask_editor.css, is the page's to link.

import { Brush } from "./brush.js";
import { make } from "./dom.js";
import { describe, percent } from "./edit_notes.js";
import { EditedPicture } from "./edited_picture.js";
import { isSame, layout, preset, PRESETS } from "./frame.js";
import { decode, MOST_BYTES } from "./image_file.js";
import { Stage } from "./stage.js";
import { shortcutOf } from "./stage_keys.js";
import { Toolbar } from "./toolbar.js";

const LIMITS = { min_side: 64, max_side: 2048, max_pixels: 2048 * 2048, max_aspect: 4, multiple: 8 };
const HINTS = {
  mask: "Mask: arrow keys move the crosshair, with Shift faster; Space or Enter paints, and draws while it is held.",
  frame: "Frame: arrow keys move it, with Shift faster; its edges and corners come next.",
};
const SIZE_STEP = 5;

class MaskEditor extends HTMLElement {
  #limits = LIMITS;
  #maxBytes = MOST_BYTES;
  #edited = null;
  #opening = null;
  #brush = new Brush();
  #stage = new Stage(this.#brush, {
    progress: () => this.#update(),
    change: () => {
      this.#changed();
      this.#say(`${this.#sizeText.textContent}. ${this.#notes.textContent}`);
    },
    say: (text) => this.#say(text),
  });
  #toolbar = new Toolbar({
    press: (name) => this.#command(name),
    preset: (name) => this.#setFrame(preset(name, this.#edited.picture, this.#limits)),
    resize: (size) => this.#resizeBrush(size),
  });
  #sizeText = make("strong", { className: "mask-editor__dimensions" });
  #notes = make("p", { className: "mask-editor__notes" });
  #problem = make("p", { className: "mask-editor__problem", role: "alert" });
  #status = make("p", { className: "mask-editor__status", role: "status" });

  connectedCallback() {
    if (this.contains(this.#stage.element)) {
      return;
    }
    this.#stage.limits = this.#limits;
    const footer = make("div", { className: "mask-editor__footer" }, this.#sizeText, this.#notes, this.#toolbar.zoom);
    this.append(this.#toolbar.element, this.#stage.element, footer, this.#problem, this.#status);
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.hidden = !this.#edited;
  }

  get limits() {
    return this.#limits;
  }

  set limits(limits) {
    const wanted = { ...LIMITS, ...limits };
    if (!isSame(wanted, this.#limits)) {
      this.#limits = this.#stage.limits = wanted;
      this.#changed();
    }
  }

  get maxBytes() {
    return this.#maxBytes;
  }

  set maxBytes(bytes) {
    if (bytes !== this.#maxBytes) {
      this.#maxBytes = bytes ?? MOST_BYTES;
      this.#changed();
    }
  }

  get mode() {
    return this.#stage.mode;
  }

  set mode(mode) {
    if (mode !== "mask" && mode !== "frame") {
      throw new RangeError(`mode is "mask" or "frame", not "${mode}"`);
    }
    this.#stage.mode = mode;
    this.#stage.fit();
    this.#update();
  }

  get isOpen() {
    return this.#edited !== null;
  }

  /** {width, height} in pixels of what `result` returns now; null while no picture is open. */
  get size() {
    if (!this.#edited) {
      return null;
    }
    const { width, height } = layout(this.#edited.picture, this.#edited.frame, this.#limits);
    return { width, height };
  }

  /**
   * Shows a PNG, JPEG or WebP file, instead of what was open; with what a `mask` file, as `result` returns one, marks.
   * Raises an Error that tells a person what is wrong with a file; what was open then stays. Of several calls, the last
   * one counts.
   */
  async open(file, mask = null) {
    const opening = (this.#opening = Symbol("opening"));
    const [picture, marks] = await Promise.all([decode(file), mask && decode(mask)]);
    if (opening === this.#opening) {
      this.#show(new EditedPicture(picture, marks));
    }
  }

  /** Forgets the picture and all that was done to it. */
  close() {
    this.#opening = null;
    this.#show(null);
  }

  /**
   * What to send: {image, mask, width, height, source, isExact}. `image` and `mask` are files for the fields of that
   * name, of width × height pixels; mask is null where nothing is to be repainted. `source`: {x, y, width, height} of
   * the opened picture in it, in fractions; `isExact`: its pixels are the file's. Raises an Error that tells a person
   * what to do.
   */
  async result() {
    if (!this.#edited) {
      throw new Error("No picture is open.");
    }
    return this.#edited.files(this.#limits, this.#maxBytes);
  }

  #show(edited) {
    this.#edited = edited;
    this.hidden = !edited;
    this.#stage.mode = "mask";
    this.#stage.show(edited);
    this.#changed();
  }

  #onKey(event) {
    const name = shortcutOf(event);
    if (name) {
      event.preventDefault();
      this.#command(name);
    }
  }

  #command(name) {
    const edited = this.#edited;
    if (edited.isBusy) {
      return; // a stroke is being drawn meanwhile
    }
    const commands = {
      brush: () => this.#choose(false),
      eraser: () => this.#choose(true),
      frame: () => (this.mode = this.mode === "frame" ? "mask" : "frame"),
      undo: () => this.#done(edited.undo(), "Undone."),
      redo: () => this.#done(edited.redo(), "Done again."),
      invert: () => this.#done(edited.do({ kind: "invert" }), "Mask inverted."),
      clear: () => edited.coverage > 0 && this.#done(edited.do({ kind: "clear" }), "Mask cleared."),
      closer: () => this.#stage.zoom(1),
      farther: () => this.#stage.zoom(-1),
      fit: () => this.#stage.zoom(-Infinity),
      thinner: () => this.#resizeBrush(this.#brush.size - SIZE_STEP),
      wider: () => this.#resizeBrush(this.#brush.size + SIZE_STEP),
    };
    commands[name]();
    this.#update();
  }

  #choose(erases) {
    this.#brush.erases = erases;
    this.mode = "mask";
  }

  #resizeBrush(size) {
    this.#brush.resize(size);
    this.#stage.redraw();
    this.#update();
  }

  #setFrame(frame) {
    this.#edited.setFrame(frame);
    this.#stage.fit();
    this.#changed();
  }

  #done(operation, text) {
    if (!operation) {
      return;
    }
    if (operation.kind === "frame") {
      this.#stage.fit();
    }
    this.#stage.redraw();
    this.#changed();
    this.#say(`${text} ${percent(this.#edited.coverage)} marked.`);
  }

  #changed() {
    this.#update();
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #say(text) {
    this.#status.textContent = text;
  }

  #update() {
    const edited = this.#edited;
    if (!edited) {
      return;
    }
    const { history, picture, frame, coverage } = edited;
    const { size, notes, problem } = describe(edited, this.mode, this.#limits, this.#maxBytes);
    this.#sizeText.textContent = size;
    this.#notes.textContent = notes.join(" ");
    this.#problem.textContent = problem ?? "";
    this.#stage.canvas.setAttribute("aria-label", HINTS[this.mode]);
    const { isFitted, isClosest } = this.#stage.zooms;
    const tool = this.#brush.erases ? "eraser" : "brush";
    this.#toolbar.update({
      tool: this.mode === "frame" ? "frame" : tool,
      preset: Object.keys(PRESETS).find((name) => isSame(preset(name, picture, this.#limits), frame)),
      disabled: {
        undo: !history.canUndo,
        redo: !history.canRedo,
        clear: coverage === 0,
        closer: isClosest,
        farther: isFitted,
        fit: isFitted,
      },
      size: this.#brush.size,
      sizeText: `${Math.max(1, Math.round(2 * this.#brush.radius(picture)))} px`,
    });
  }
}

customElements.define("mask-editor", MaskEditor);
