// Files to pictures and back.

export const MOST_BYTES = 4 * 2 ** 20 - 2 ** 16; // the service takes 4 MiB

const LONGEST = 2048; // pixels of a picture that is drawn to be seen; what is edited is sent with all of its own
const QUALITIES = [0.95, 0.9, 0.8, 0.65, 0.5];

/** The media type that a file's first 12 bytes tell, or null for what the service does not take. */
export function formatOf(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, 12));
  if (text.startsWith("\x89PNG\r\n\x1a\n")) {
    return "image/png";
  }
  if (text.startsWith("\xff\xd8\xff")) {
    return "image/jpeg";
  }
  return text.startsWith("RIFF") && text.endsWith("WEBP") ? "image/webp" : null;
}

/**
 * Whether a file may say how it is turned in a way that not all programs follow: anything but a JPEG's EXIF data. The
 * mask of such a picture would not be sure to lie as the service sees it, so the picture is to be sent as seen here.
 */
export function isAmbiguous(bytes, format) {
  const text = new TextDecoder("latin1").decode(bytes);
  const marks = { "image/png": ["eXIf", "Raw profile type exif"], "image/webp": ["EXIF"], "image/jpeg": [] }[format];
  return [...marks, "tiff:Orientation"].some((mark) => text.includes(mark));
}

/**
 * The picture in a file, upright: {file, image, width, height, isAmbiguous}. Raises an Error that tells a person what
 * is wrong with it. `release` gives its memory back.
 */
export async function decode(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const format = formatOf(bytes);
  if (!format) {
    throw new Error("This is not a PNG, JPEG or WebP picture.");
  }
  const address = URL.createObjectURL(new Blob([bytes], { type: format }));
  const image = new Image(); // which all browsers turn upright
  try {
    image.src = address;
    await image.decode();
  } catch {
    throw new Error("This picture cannot be read: the file is damaged, or too large for this browser.");
  } finally {
    URL.revokeObjectURL(address);
  }
  return {
    file,
    image,
    width: image.naturalWidth,
    height: image.naturalHeight,
    isAmbiguous: isAmbiguous(bytes, format),
  };
}

/** An empty canvas, and how to draw on it. `reads`: its pixels will be read back. */
export function blank(width, height, reads = false) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: reads });
  context.imageSmoothingQuality = "high";
  return { canvas, context };
}

/** What `decode` returns, drawn: as large as it is, or as large as is to be seen. */
export function drawn({ image, width, height }) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const [across, down] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const surface = blank(across, down);
  surface.context.drawImage(image, 0, 0, across, down);
  return surface;
}

/** The file itself where it has at most `maxBytes`, else its picture in a smaller one. Raises as decode, encode do. */
export async function fitted(file, maxBytes) {
  return file.size <= maxBytes ? file : encode(drawn(await decode(file)).canvas, maxBytes);
}

/** A canvas as a PNG file. */
export function toPNG(canvas) {
  return toBlob(canvas, "image/png");
}

/**
 * A canvas as a file of at most `maxBytes`: a PNG where that is enough, else WebP, or JPEG where a browser cannot write
 * that, as good as fits. Raises an Error where none does.
 */
export async function encode(canvas, maxBytes) {
  let blob = await toPNG(canvas);
  for (const quality of QUALITIES) {
    if (blob.size <= maxBytes) {
      return blob;
    }
    blob = await toBlob(canvas, "image/webp", quality);
    if (blob.type !== "image/webp") {
      blob = await toBlob(canvas, "image/jpeg", quality);
    }
  }
  if (blob.size > maxBytes) {
    throw new Error("This picture has too much detail to be sent. Crop it, or choose a smaller one.");
  }
  return blob;
}

async function toBlob(canvas, type, quality) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, quality));
  if (!blob) {
    throw new Error("This picture is too large for this browser.");
  }
  return blob;
}
