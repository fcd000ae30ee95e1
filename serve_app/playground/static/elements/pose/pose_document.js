/**
 * What is edited: people on a canvas, with the photo that they were found in, shown in the picture to be made. Pure.
 *
 * Invariants: people keep the canvas that they came with as long as they stay within it, so that trying another size
 * and coming back changes nothing; what is shown lies in the picture as the service would fit it.
 */

import { History } from "./history.js";
import { isWithin } from "./keypoints.js";
import { lifted, placed, placedArea, placement } from "./placement.js";

export class PoseDocument {
  #size;
  #history;
  #loaded; // what `reset` goes back to

  constructor(size) {
    this.#size = size;
    this.#loaded = { canvas: size, people: [], photo: null };
    this.#history = new History(this.#loaded);
  }

  get size() {
    return this.#size;
  }

  set size(size) {
    this.#size = size;
  }

  /** In pixels of the picture. */
  get people() {
    return placed(this.#now.people, this.#placement);
  }

  /** `{url, x, y, width, height}` in pixels of the picture, or null. */
  get photo() {
    const { photo } = this.#now;
    return photo && { url: photo.url, ...placedArea(photo, this.#placement) };
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  get canReset() {
    return this.#now !== this.#loaded;
  }

  /** People of a canvas, with the photo that fills it: without one, the photo before goes too. */
  load(people, canvas, photoUrl = null) {
    const photo = photoUrl && { url: photoUrl, x: 0, y: 0, ...canvas };
    this.#loaded = { canvas, people, photo };
    this.#history.push(this.#loaded);
  }

  /** People of the picture, who were there before. `step`: see History.push. */
  edit(people, step = null) {
    const { canvas, photo } = this.#now;
    const own = lifted(people, this.#placement);
    const staysWithin = own.every(({ body }) => body.every((point) => !point || isWithin(point, canvas)));
    const state = staysWithin
      ? { canvas, people: own, photo }
      : { canvas: this.#size, people, photo: this.photo };
    this.#history.push(state, step);
  }

  undo() {
    this.#history.undo();
  }

  redo() {
    this.#history.redo();
  }

  reset() {
    this.#history.push(this.#loaded);
  }

  get #now() {
    return this.#history.now;
  }

  get #placement() {
    return placement(this.#now.canvas, this.#size);
  }
}
