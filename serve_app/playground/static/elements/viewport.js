// Which part of a picture is seen, and how large: arithmetic alone.
//
// A place on the screen, in CSS pixels from the stage's corner, is a place in the picture times `scale` plus x, y.
// Invariants: all fits, or it is zoomed in and fills what it can of the stage.

const CLOSEST = 8; // times as large as when all fits, or
const PIXEL = 8; // CSS pixels for one of the picture's: whichever is closer

export class Viewport {
  scale = 1;
  x = 0;
  y = 0;
  #stage = { width: 1, height: 1 };
  #bounds = { x: 0, y: 0, width: 1, height: 1 };
  #margin = 0;

  /** Shows all of `bounds`, in pixels of the picture, on a stage of CSS pixels, with a margin of some, or a share. */
  fit(stage, bounds, margin) {
    this.#stage = stage;
    this.#bounds = bounds;
    this.#margin = margin;
    this.scale = this.#fitting;
    this.#settle();
  }

  get isFitted() {
    return this.scale <= this.#fitting;
  }

  get isClosest() {
    return this.scale >= this.#closest;
  }

  get #fitting() {
    const { width, height } = this.#stage;
    const fit = Math.min(
      (width - 2 * this.#margin) / this.#bounds.width,
      (height - 2 * this.#margin) / this.#bounds.height,
    );
    return Math.max(fit, 1e-3);
  }

  get #closest() {
    return Math.max(this.#fitting * CLOSEST, PIXEL);
  }

  /** Zooms by a factor and leaves what is below `point`, on the screen, where it is. */
  zoom(factor, point = { x: this.#stage.width / 2, y: this.#stage.height / 2 }) {
    const scale = Math.min(Math.max(this.scale * factor, this.#fitting), this.#closest);
    const change = scale / this.scale;
    this.x = point.x - (point.x - this.x) * change;
    this.y = point.y - (point.y - this.y) * change;
    this.scale = scale;
    this.#settle();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#settle();
  }

  /** Pans as far as it takes to see a place in the picture. */
  reveal(place) {
    const { x, y } = this.toScreen(place);
    const { width, height } = this.#stage;
    this.pan(Math.max(0, -x) - Math.max(0, x - width), Math.max(0, -y) - Math.max(0, y - height));
  }

  toPicture({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  toScreen({ x, y }) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }

  #settle() {
    this.x = this.#settled(this.x, this.#bounds.x, this.#bounds.width, this.#stage.width);
    this.y = this.#settled(this.y, this.#bounds.y, this.#bounds.height, this.#stage.height);
  }

  #settled(offset, start, length, room) {
    const [from, size] = [start * this.scale, length * this.scale];
    if (size + 2 * this.#margin <= room) {
      return (room - size) / 2 - from;
    }
    return Math.min(Math.max(offset, room - this.#margin - size - from), this.#margin - from);
  }
}
