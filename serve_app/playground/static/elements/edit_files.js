// What is sent of an edited picture: the picture and the mask, as files for the service.
//
// Invariants: a picture that fits as it is leaves as the very file that was opened. Else its pixels are those of the
// file, moved but not changed, unless it had to be scaled. The mask is as large as the picture, transparent where it is
// to be repainted and opaque elsewhere, and nothing in between.

import { layout, misfit } from "./frame.js";
import { blank, encode, toPNG } from "./image_file.js";
import { MaskSurface, toServiceMask } from "./mask_surface.js";

/** Whether the file can be sent as it is. */
export function keepsFile(picture, frame, limits, maxBytes) {
  const { scale } = layout(picture, frame, limits);
  return !frame && scale === 1 && picture.file.size <= maxBytes && !picture.isAmbiguous;
}

/**
 * {image, mask, width, height, source, isExact}: two files, of which mask may be null where nothing is to be repainted,
 * their size, the place of the picture in it, in fractions, and whether its pixels are the file's, neither scaled nor
 * compressed anew. `mask`: {base, operations, isOwn}, what it held before any and whether that is the file's own
 * transparency as it was. Raises an Error that tells a person what to do.
 */
export async function editFiles(picture, frame, mask, limits, maxBytes) {
  const { width, height, source } = layout(picture, frame, limits);
  const problem = misfit({ width, height }, limits);
  if (problem) {
    throw new Error(problem);
  }
  const kept = keepsFile(picture, frame, limits, maxBytes);
  const own = kept && mask.isOwn; // then the service sees the file's own transparency, shades and all
  const [image, maskImage] = await Promise.all([
    kept ? picture.file : encode(placedPicture(picture, width, height, source), maxBytes),
    own ? null : maskFile(picture, mask, width, height, source),
  ]);
  const isMoved = source.width === picture.width && source.height === picture.height;
  return {
    image,
    mask: maskImage,
    width,
    height,
    source: { x: source.x / width, y: source.y / height, width: source.width / width, height: source.height / height },
    isExact: kept || (isMoved && image.type === "image/png"),
  };
}

function placedPicture(picture, width, height, source) {
  const { canvas, context } = blank(width, height);
  context.imageSmoothingEnabled = source.width !== picture.width || source.height !== picture.height;
  context.drawImage(picture.image, source.x, source.y, source.width, source.height);
  return canvas;
}

async function maskFile(picture, { base, operations }, width, height, source) {
  const surface = new MaskSurface(width, height, picture, base, source);
  surface.replay(operations);
  const { canvas, context } = blank(width, height, true);
  context.fillRect(0, 0, width, height);
  context.clearRect(source.x, source.y, source.width, source.height);
  context.drawImage(surface.canvas, 0, 0);
  const mask = toServiceMask({ canvas, context });
  return mask && toPNG(mask);
}
