// The mask as pixels: opaque where the picture is to be repainted. Operations are drawn on it in their order, a stroke
// also while it grows.

import { blank } from "./image_file.js";

const PAINTED = 128; // of 255: edges are smooth while drawn, and a mask knows only yes and no

export class MaskSurface {
  #context;
  #base;
  #picture;

  /**
   * Of width × height pixels, for a picture of {width, height}, in whose pixels operations are. `base`: what the mask
   * holds before any, as a canvas of any size, or null. `place`: {x, y, width, height} where the picture lies.
   */
  constructor(width, height, picture, base, place = { x: 0, y: 0, width, height }) {
    const { canvas, context } = blank(width, height, true);
    this.canvas = canvas;
    this.#context = context;
    this.#base = base;
    context.setTransform(place.width / picture.width, 0, 0, place.height / picture.height, place.x, place.y);
    context.lineCap = context.lineJoin = "round";
    this.#picture = picture;
    this.replay([]);
  }

  /** Draws all anew. */
  replay(operations) {
    const { width, height } = this.#picture;
    this.#context.globalCompositeOperation = "source-over";
    this.#context.clearRect(0, 0, width, height);
    if (this.#base) {
      this.#context.drawImage(this.#base, 0, 0, width, height);
    }
    operations.forEach((operation) => this.apply(operation));
  }

  /** Draws one operation, or only the points of a stroke from the one with number `first`. */
  apply(operation, first = 0) {
    const context = this.#context;
    const { width, height } = this.#picture;
    if (operation.kind === "clear") {
      context.clearRect(0, 0, width, height);
    } else if (operation.kind === "invert") {
      context.globalCompositeOperation = "source-out";
      context.fillRect(0, 0, width, height);
    } else if (operation.kind === "stroke") {
      context.globalCompositeOperation = operation.erases ? "destination-out" : "source-over";
      context.lineWidth = 2 * operation.radius;
      this.#draw(operation, first);
    }
  }

  #draw({ points, radius }, first) {
    const context = this.#context;
    if (first === 0) {
      // a line to where it begins would leave nothing
      context.beginPath();
      context.arc(points[0].x, points[0].y, radius, 0, 2 * Math.PI);
      context.fill();
    }
    context.beginPath();
    points.slice(Math.max(0, first - 1)).forEach(({ x, y }) => context.lineTo(x, y));
    context.stroke();
  }

  /** The share that is painted, 0 to 1. */
  coverage() {
    const { width, height } = this.canvas;
    const { data } = this.#context.getImageData(0, 0, width, height);
    let painted = 0;
    for (let index = 3; index < data.length; index += 4) {
      painted += data[index] >= PAINTED;
    }
    return painted / (width * height);
  }
}

/** A mask as the service has it, transparent where `canvas` is painted and else black; null where nothing is. */
export function toServiceMask({ canvas, context }) {
  return mapped(canvas, context, (alpha) => (alpha >= PAINTED ? 0 : 255), 0);
}

/** The area of a canvas that is more transparent than not, painted; null where nothing is. */
export function transparencyOf({ canvas, context }) {
  return mapped(canvas, context, (alpha) => (alpha <= PAINTED ? 255 : 0), 255);
}

/** A canvas as large, black, of another alpha; null where none is `wanted`. */
function mapped({ width, height }, context, alphaOf, wanted) {
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new ImageData(width, height);
  let isAny = false;
  for (let index = 3; index < data.length; index += 4) {
    const alpha = alphaOf(data[index]);
    pixels.data[index] = alpha;
    isAny ||= alpha === wanted;
  }
  if (!isAny) {
    return null;
  }
  const made = blank(width, height);
  made.context.putImageData(pixels, 0, 0);
  return made.canvas;
}
