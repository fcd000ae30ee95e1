// The brush: whether it marks or unmarks, and how wide it is for a picture. Arithmetic alone.

const NARROWEST = 0.004; // of the picture's longer side, at size 0
const WIDEST = 0.4; // at size 100

export class Brush {
  erases = false;
  size = 65;

  /** 0 to 100, where each step widens it by the same share. */
  resize(size) {
    this.size = Math.max(0, Math.min(Math.round(size), 100));
  }

  /** In pixels of a picture of {width, height}. */
  radius({ width, height }) {
    const share = NARROWEST * (WIDEST / NARROWEST) ** (this.size / 100);
    return Math.max(0.5, (share * Math.max(width, height)) / 2);
  }
}
