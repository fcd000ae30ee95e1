// What a person is told about an edit: the size of what will be made, what will be repainted, what is sent otherwise
// than it was opened, and why.

import { layout, misfit } from "./frame.js";

/**
 * {size, notes, problem}: texts, of which `problem` is null where the model takes the picture. `edited` has picture,
 * frame and coverage.
 */
export function describe({ picture, frame, coverage }, mode, limits, maxBytes) {
  const { width, height, scale } = layout(picture, frame, limits);
  const notes = [task(mode, frame, picture, coverage)];
  if (scale !== 1 && frame) {
    notes.push(`The picture is scaled to ${Math.round(scale * 100)} %, which makes all of it fit this model.`);
  } else if (scale !== 1) {
    notes.push(`${scale < 1 ? "Reduced" : "Enlarged"} from ${picture.width} × ${picture.height} to fit this model.`);
  } else if (!frame && picture.file.size > maxBytes) {
    notes.push("The file is too large to be sent as it is: it is compressed anew.");
  }
  return { size: `${width} × ${height}`, notes, problem: misfit({ width, height }, limits) };
}

/** `share`, 0 to 1, as people say it. */
export function percent(share) {
  const value = share * 100;
  return value > 0 && value < 1 ? "less than 1 %" : `${Math.round(value)} %`;
}

function task(mode, frame, picture, coverage) {
  if (frame && reachesOut(frame, picture)) {
    return coverage > 0
      ? "All that is hatched will be painted."
      : "What is hatched will be painted. With the brush you can mark more.";
  }
  if (mode === "frame") {
    return "Drag an edge or a corner: outwards to extend the picture, inwards to crop it.";
  }
  if (coverage > 0) {
    return `${percent(coverage)} is marked and will be repainted. All else stays as it is.`;
  }
  return "Paint over what should change. With nothing marked, the whole picture may change.";
}

function reachesOut({ x, y, width, height }, picture) {
  return x < 0 || y < 0 || x + width > picture.width || y + height > picture.height;
}
