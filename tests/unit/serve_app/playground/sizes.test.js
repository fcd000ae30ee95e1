import assert from "node:assert/strict";
import { test } from "node:test";
import {
  carriedSize,
  parseSize,
  problemOf,
  readableSide,
  readableSize,
  shapesFor,
  sizeOfShape,
  SHAPES,
} from "../../../../serve_app/playground/static/scripts/logic/sizes.js";

const LIMITS = {
  min_side: 64,
  max_side: 2048,
  max_pixels: 2048 * 2048,
  max_aspect: 4,
  default_size: "1024x1024",
  size_multiple: 8,
};

test("every shape that is offered is one that the model makes", () => {
  const sides = [
    [64, 512],
    [256, 1024],
    [512, 2048],
  ];
  for (const [least, most] of sides) {
    for (const multiple of [8, 16, 64]) {
      for (const usual of ["256x256", "512x384", "1024x1024"]) {
        const limits = {
          ...LIMITS,
          min_side: least,
          max_side: most,
          size_multiple: multiple,
          default_size: usual,
          max_pixels: (most * most) / 2,
        };
        for (const { size } of shapesFor(limits))
          assert.equal(problemOf(size, limits), null, JSON.stringify([limits, size]));
      }
    }
  }
});

test("a shape has about as many pixels as the default and about its sides", () => {
  for (const {
    name,
    ratio: [across, down],
  } of SHAPES) {
    const { width, height } = sizeOfShape([across, down], LIMITS);
    assert.ok(Math.abs(width / height / (across / down) - 1) < 0.02, name);
    assert.ok(Math.abs((width * height) / 2 ** 20 - 1) < 0.02, name);
  }
  assert.deepEqual(sizeOfShape([1, 1], LIMITS), { width: 1024, height: 1024 });
});

test("a model whose default has all the pixels that it makes has every shape", () => {
  assert.equal(shapesFor({ ...LIMITS, max_side: 1536, max_pixels: 1024 * 1024 }).length, SHAPES.length);
});

test("a shape that the model does not make is not offered", () => {
  const narrow = { ...LIMITS, max_aspect: 1.5 };
  assert.deepEqual(
    shapesFor(narrow).map(({ name }) => name),
    ["Square", "Landscape", "Portrait"],
  );
});

test("what is wrong with a size is said", () => {
  const about = (width, height) => problemOf({ width, height }, LIMITS);
  assert.equal(about(1024, 1024), null);
  assert.match(about(32, 512), /64 to 2048/);
  assert.match(about(512, 4096), /64 to 2048/);
  assert.match(about(513, 512), /multiples of 8, as 512 × 512/);
  assert.match(about(2048, 256), /4 times/);
  assert.match(problemOf({ width: 2048, height: 2048 }, { ...LIMITS, max_pixels: 1048576 }), /1,048,576 pixels/);
  assert.match(about(1.5, 64), /whole numbers/);
});

test("sizes are read", () => {
  assert.deepEqual(parseSize("512x768"), { width: 512, height: 768 });
  for (const wrong of ["auto", "512", "0x5", "512X768", "-1x5", "1e3x5"]) assert.equal(parseSize(wrong), null);
});

test("whatever is entered or was kept gives a size that is read", () => {
  for (const side of [0.2, 1, 1024, 123456, 1e300]) {
    const entered = readableSide(side);
    assert.ok(parseSize(`${entered}x${entered}`), String(side));
  }
  assert.equal(readableSide(1023.6), 1024);
  for (const kept of ["auto", "123456x1024", "0x1024", "", null]) assert.equal(readableSize(kept), "auto");
  assert.equal(readableSize("512x768"), "512x768");
});

test("a size is carried to another model as far as that makes it", () => {
  const other = { ...LIMITS, size_multiple: 16, default_size: "512x512", max_side: 1024 };
  assert.equal(carriedSize("auto", LIMITS, other), "auto");
  assert.equal(carriedSize("512x256", LIMITS, other), "512x256");
  assert.equal(carriedSize("1184x888", LIMITS, other), "592x448");
  assert.equal(carriedSize("1000x1000", LIMITS, other), "auto");
});
