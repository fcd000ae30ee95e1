// An open picture with all that was done to it: history and mask, kept in step.

import { editFiles } from "./edit_files.js";
import { isSame } from "./frame.js";
import { History } from "./history.js";
import { drawn } from "./image_file.js";
import { MaskSurface, transparencyOf } from "./mask_surface.js";

const DENSITY = 8; // points of a stroke within its radius: more make it no smoother

export class EditedPicture {
  history = new History();
  coverage = 0;
  #base;
  #isGiven; // whether the base is a mask that came with the picture
  #surface;
  #stroke = null;
  #draft; // the frame while it is dragged, which null is too

  /** Of what `decode` returns. `mask`: the same of a mask as it is sent, or null; the picture's transparency is one. */
  constructor(picture, mask = null) {
    this.picture = picture;
    this.#isGiven = mask !== null;
    const shown = drawn(picture);
    this.shown = shown.canvas;
    this.#base = transparencyOf(mask ? drawn(mask) : shown);
    this.#surface = new MaskSurface(shown.canvas.width, shown.canvas.height, picture, this.#base);
    this.#measure();
  }

  get mask() {
    return this.#surface.canvas;
  }

  get frame() {
    return this.#draft === undefined ? this.history.frame : this.#draft;
  }

  /** Whether a stroke or a drag of the frame is under way. */
  get isBusy() {
    return this.#stroke !== null || this.#draft !== undefined;
  }

  /** Returns the operation, which is one of the mask as a whole. */
  do(operation) {
    this.history.add(operation);
    this.#surface.apply(operation);
    this.#measure();
    return operation;
  }

  /** Returns the operation that was undone, or undefined where there was none. */
  undo() {
    const operation = this.history.undo();
    this.#redraw();
    return operation;
  }

  /** Returns the operation that was done again, or undefined where there was none. */
  redo() {
    const operation = this.history.redo();
    this.#redraw();
    return operation;
  }

  beginStroke(place, radius, erases) {
    this.#stroke = { kind: "stroke", erases, radius, points: [place] };
    this.history.add(this.#stroke);
    this.#surface.apply(this.#stroke);
  }

  /** This and what ends a stroke do nothing where none is drawn. */
  extendStroke(places) {
    if (!this.#stroke) {
      return;
    }
    const { points, radius } = this.#stroke;
    const first = points.length;
    for (const place of places) {
      const { x, y } = points.at(-1);
      if (Math.hypot(place.x - x, place.y - y) >= radius / DENSITY) {
        points.push(place);
      }
    }
    if (points.length > first) {
      this.#surface.apply(this.#stroke, first);
    }
  }

  endStroke() {
    if (this.#stroke) {
      this.#stroke = null;
      this.#measure();
    }
  }

  /** As if the stroke had not begun. */
  cancelStroke() {
    if (this.#stroke) {
      this.#stroke = null;
      this.history.drop();
      this.#redraw();
    }
  }

  /** Shows another frame, which is none of the history's until `endFrame`. */
  draftFrame(frame) {
    this.#draft = frame;
  }

  endFrame() {
    const frame = this.frame;
    this.#draft = undefined;
    this.setFrame(frame);
  }

  setFrame(frame) {
    if (!isSame(frame, this.frame)) {
      this.history.add({ kind: "frame", frame });
    }
  }

  files(limits, maxBytes) {
    const { frame, operations, touchesMask } = this.history;
    const mask = { base: this.#base, operations, isOwn: !this.#isGiven && !touchesMask };
    return editFiles(this.picture, frame, mask, limits, maxBytes);
  }

  #redraw() {
    this.#surface.replay(this.history.operations);
    this.#measure();
  }

  #measure() {
    this.coverage = this.#surface.coverage();
  }
}
