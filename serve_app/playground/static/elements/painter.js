// Draws the editor's stage: the picture, what is to be repainted, and the brush.
//
// Nothing here depends on the page's colours, since any picture may lie below: what is to be repainted is tinted, and
// hatched in light and dark, so that it shows on every colour and to every eye.

import { blank } from "./image_file.js";

const TINT = "rgb(139 61 255 / 0.45)";
const LIGHT = "rgb(255 255 255 / 0.8)";
const DARK = "rgb(20 10 40 / 0.55)";
const CHECKERS = ["#8f8f96", "#b4b4ba"];
const HATCH_SIDE = 10; // CSS pixels
const CROSS = 9;

export class Painter {
  #context;
  #overlay = blank(1, 1);
  #ratio = 0;
  #hatch;
  #checkers;

  constructor(canvas) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d");
  }

  /** For a stage of CSS pixels, on a screen that has `ratio` pixels for each of them. */
  resize({ width, height }, ratio) {
    for (const canvas of [this.canvas, this.#overlay.canvas]) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    }
    if (ratio !== this.#ratio) {
      this.#ratio = ratio;
      this.#hatch = hatch(this.#context, ratio);
      this.#checkers = checkers(this.#context, ratio);
    }
  }

  /**
   * `picture`, `mask`: canvases of any size, which stand for width × height pixels at 0, 0 of `viewport`. `frame` may
   * be null. `brush`: {x, y, radius, isCross} in those pixels, or null.
   */
  draw({ viewport, picture, mask, size, frame, brush }) {
    const context = this.#context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#look(context, viewport);
    const outer = new Path2D();
    outer.rect(0, 0, size.width, size.height);
    if (frame) {
      outer.rect(frame.x, frame.y, frame.width, frame.height);
    }
    this.#fill(context, outer, this.#checkers, "nonzero");
    context.imageSmoothingEnabled = viewport.scale * this.#ratio < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, size.width, size.height);
    this.#drawOverlay(viewport, mask, size, frame);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(this.#overlay.canvas, 0, 0);
    if (brush) {
      this.#drawBrush(viewport, brush);
    }
  }

  #look(context, { scale, x, y }) {
    const ratio = this.#ratio;
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
  }

  /** A pattern in pixels of the screen, within a path in pixels of the picture. */
  #fill(context, path, pattern, rule) {
    context.save();
    context.clip(path, rule);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = pattern;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.restore();
  }

  #drawOverlay(viewport, mask, size, frame) {
    const { canvas, context } = this.#overlay;
    context.globalCompositeOperation = "source-over";
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.#look(context, viewport);
    context.drawImage(mask, 0, 0, size.width, size.height);
    if (frame) {
      this.#fillAround(context, size, frame);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const [operation, style] of [
      ["source-in", TINT],
      ["source-atop", this.#hatch],
    ]) {
      context.globalCompositeOperation = operation;
      context.fillStyle = style;
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
  }

  /** What of the frame is outside the picture. */
  #fillAround(context, size, { x, y, width, height }) {
    const path = new Path2D();
    path.rect(x, y, width, height);
    context.save();
    context.clip(path);
    path.rect(0, 0, size.width, size.height);
    context.fillStyle = "#000";
    context.fill(path, "evenodd");
    context.restore();
  }

  #drawBrush(viewport, { x, y, radius, isCross }) {
    const context = this.#context;
    const at = viewport.toScreen({ x, y });
    const shape = new Path2D();
    shape.arc(at.x, at.y, Math.max(2, radius * viewport.scale), 0, 2 * Math.PI);
    if (isCross) {
      [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ].forEach(([dx, dy]) => {
        shape.moveTo(at.x + 2 * dx, at.y + 2 * dy);
        shape.lineTo(at.x + CROSS * dx, at.y + CROSS * dy);
      });
    }
    context.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    for (const [width, style] of [
      [3.5, "#000"],
      [1.5, "#fff"],
    ]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke(shape);
    }
  }
}

/** Diagonal lines, each light with a dark one beside it. */
function hatch(context, ratio) {
  const side = Math.round(HATCH_SIDE * ratio);
  const tile = blank(side, side);
  const line = (offset, style) => {
    tile.context.strokeStyle = style;
    tile.context.lineWidth = 1.25 * ratio;
    tile.context.beginPath();
    for (const shift of [-side, 0, side]) {
      // the neighbours' ends, so that tiles join
      tile.context.moveTo(shift + offset - ratio, side + ratio);
      tile.context.lineTo(shift + offset + side + ratio, -ratio);
    }
    tile.context.stroke();
  };
  line(0, DARK);
  line(1.25 * Math.SQRT2 * ratio, LIGHT);
  return context.createPattern(tile.canvas, "repeat");
}

function checkers(context, ratio) {
  const half = Math.round(8 * ratio);
  const tile = blank(2 * half, 2 * half);
  tile.context.fillStyle = CHECKERS[0];
  tile.context.fillRect(0, 0, 2 * half, 2 * half);
  tile.context.fillStyle = CHECKERS[1];
  tile.context.fillRect(0, 0, half, half);
  tile.context.fillRect(half, half, half, half);
  return context.createPattern(tile.canvas, "repeat");
}
