/**
 * What a picture is made from beside words: the picture that is edited, and the pose.
 *
 * Invariants: each editor is one element as long as the page lasts, wherever it is shown or not, so that what was
 * painted or posed is there when one comes back to it; of several files the last one counts, whichever is read first.
 */

import "../../elements/mask_editor.js";
import "../../elements/pose_editor.js";
import { keyHeaders } from "../service.js";
import { forget, problems } from "./problems.js";
import { Store } from "./store.js";

/** The picture to edit, and the mask that it comes with. @type {Store<{image: Blob, mask?: Blob} | null>} */
export const picture = new Store(null);

/** The photo in which a pose is looked for now. @type {Store<Blob | null>} */
export const photo = new Store(null);

/** Whether there is a pose, or was one that may be undone to. @type {Store<boolean>} */
export const hasPose = new Store(false);

export const editors = {
  edit: /** @type {any} */ (document.createElement("mask-editor")),
  pose: /** @type {any} */ (document.createElement("pose-editor")),
};

picture.watch((given) => {
  forget(["picture"]);
  if (!given) {
    editors.edit.close();
    return;
  }
  editors.edit.open(given.image, given.mask).catch((error) => {
    if (picture.value !== given) return;
    picture.set(null);
    problems.set({ picture: error.message });
  });
});

photo.watch(async (file) => {
  if (!file) return;
  const failure = await editors.pose.find(file, keyHeaders()).then(
    () => null,
    (error) => error,
  );
  if (photo.value !== file) return;
  photo.set(null);
  if (failure && failure.name !== "AbortError") problems.set({ pose: failure.message });
});

editors.pose.addEventListener("change", () => {
  hasPose.set(true);
  forget(["pose"]);
});

/** Takes over a pose as it was sent. @param {any} keypoints */
export function pose(keypoints) {
  editors.pose.pose = keypoints;
  hasPose.set(true);
  forget(["pose"]);
}

const KINDS = ["image/png", "image/jpeg", "image/webp"];

/** The first picture among files, or null. @param {Iterable<File>} files @returns {File | null} */
export function pictureAmong(files) {
  return [...files].find((file) => KINDS.includes(file.type)) ?? null;
}

export const ACCEPT = KINDS.join(",");

/** What is said of a file that is no picture. */
export const REFUSAL = "PNG, JPEG and WebP pictures can be read.";
