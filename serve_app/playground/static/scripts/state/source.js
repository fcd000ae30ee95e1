/**
 * What a picture is made from beside words: the picture that is edited, and the pose. Each is in its editor, an element
 * of the page, which is asked when the picture is wanted.
 */

import { Store } from "./store.js";

/** The picture to edit. @type {Store<Blob | null>} */
export const picture = new Store(null);

/** The photo that a pose was last looked for in. @type {Store<Blob | null>} */
export const photo = new Store(null);

/** The editors that are on the page now: mask-editor and pose-editor. @type {{edit: any, pose: any}} */
export const editors = { edit: null, pose: null };

const KINDS = ["image/png", "image/jpeg", "image/webp"];

/** The first picture among files, or null. @param {Iterable<File>} files @returns {File | null} */
export function pictureAmong(files) {
  return [...files].find((file) => KINDS.includes(file.type)) ?? null;
}

export const ACCEPT = KINDS.join(",");
