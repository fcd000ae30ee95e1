// Changes of a picture's frame by a handle, as a whole, or by keys: shown while they last, in the history once done.

import { moved, resized } from "./frame.js";

const SNAP = 7; // CSS pixels

export class FrameDrag {
  limits;
  #edited = null;
  #viewport;
  #notify;
  #began = null; // the frame as it was, and where in the picture it was gripped

  /** Calls of `notify`: progress(), the frame has moved; change(), and stays so. */
  constructor(viewport, notify) {
    this.#viewport = viewport;
    this.#notify = notify;
  }

  /** `edited`: an EditedPicture, or null. Forgets a drag of another. */
  of(edited) {
    this.#edited = edited;
    this.#began = null;
  }

  get isOn() {
    return this.#began !== null;
  }

  /** `from`: {x, y} in the picture, for `moveTo`. */
  begin(from = null) {
    this.#began = { frame: this.#edited.frame, from };
  }

  /** `dx`, `dy`: CSS pixels since `begin`. */
  resize(handle, dx, dy) {
    const { scale } = this.#viewport;
    this.#draft((frame, picture) => resized(frame, handle, dx / scale, dy / scale, picture, this.limits, SNAP / scale));
  }

  moveTo({ x, y }) {
    const { from } = this.#began;
    this.#draft((frame, picture) => moved(frame, x - from.x, y - from.y, picture, this.limits));
  }

  end() {
    if (this.#began) {
      this.#began = null;
      this.#edited.endFrame();
      this.#notify.change();
    }
  }

  cancel() {
    this.#draft((frame) => frame);
    this.end();
  }

  /** All at once, for a key: a handle, or the whole frame with null, by as many times what sides are multiples of. */
  step(handle, across, down) {
    const [dx, dy] = [across * this.limits.multiple, down * this.limits.multiple];
    this.begin();
    this.#draft((frame, picture) =>
      handle ? resized(frame, handle, dx, dy, picture, this.limits) : moved(frame, dx, dy, picture, this.limits),
    );
    this.end();
  }

  #draft(change) {
    if (this.#began) {
      this.#edited.draftFrame(change(this.#began.frame, this.#edited.picture));
      this.#notify.progress();
    }
  }
}
