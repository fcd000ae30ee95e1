import assert from "node:assert/strict";
import test from "node:test";
import { formatOf, isAmbiguous } from "../../../../serve_app/playground/static/elements/image_file.js";

const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

test("the format is told by the bytes", () => {
  assert.equal(formatOf(bytes("\x89PNG\r\n\x1a\n\0\0\0\rIHDR")), "image/png");
  assert.equal(formatOf(bytes("\xff\xd8\xff\xe0\0\x10JFIF")), "image/jpeg");
  assert.equal(formatOf(bytes("RIFF\0\0\0\0WEBPVP8 ")), "image/webp");
  for (const other of ["", "GIF89a", "\xff\xd8", "RIFF\0\0\0\0WAVEfmt ", "<svg xmlns=''/>", "\0\0\0\x20ftypheic"]) {
    assert.equal(formatOf(bytes(other)), null, other);
  }
});

test("only a JPEG's EXIF data turns a picture alike everywhere", () => {
  assert.equal(isAmbiguous(bytes("\xff\xd8\xff\xe1\0\x10Exif\0\0"), "image/jpeg"), false);
  assert.equal(isAmbiguous(bytes("\xff\xd8\xff\xe1 <x tiff:Orientation='6'/>"), "image/jpeg"), true);
  assert.equal(isAmbiguous(bytes("\x89PNG\r\n\x1a\n IHDR IDAT"), "image/png"), false);
  assert.equal(isAmbiguous(bytes("\x89PNG\r\n\x1a\n IHDR eXIf"), "image/png"), true);
  assert.equal(isAmbiguous(bytes("RIFF\0\0\0\0WEBPVP8X EXIF"), "image/webp"), true);
});
