/**
 * The pictures that were made here, newest first: in the browser's IndexedDB, and so many at most. Where the browser
 * keeps nothing (a private window, say) they last as long as the page.
 */

import { clear as clearAll, createStore, delMany, entries, set } from "../../vendor/idb-keyval.js";
import { Store } from "./store.js";

const MOST_PICTURES = 200;
const MOST_BYTES = 400 * 2 ** 20;

/**
 * @typedef {object} Kept - one picture and how it was made
 * @property {string} id
 * @property {number} at - in milliseconds since 1970
 * @property {Blob} picture
 * @property {number} seed
 * @property {number} width
 * @property {number} height
 * @property {number} steps - 0 where that was not told
 * @property {number} seconds - from asking to the picture
 * @property {import("../logic/orders.js").Choices} choices
 * @property {"generations" | "edits"} kind
 * @property {Record<string, any>} fields - as they were sent
 * @property {Record<string, Blob>} files - of an edit: image and mask
 */

/** @type {Store<Kept[]>} */
export const gallery = new Store([]);

const database = createStore("easel-playground", "pictures");
const urls = new Map();

/** Reads what is kept; once, at the start. */
export async function openGallery() {
  const kept = await entries(database).catch(() => []);
  const there = new Set(gallery.value.map((each) => each.id));
  const all = [...gallery.value, ...kept.map(([, each]) => each).filter((each) => !there.has(each.id))];
  gallery.set(all.sort((one, other) => other.at - one.at));
}

/** @param {Kept} picture */
export async function keep(picture) {
  const all = [picture, ...gallery.value].sort((one, other) => other.at - one.at);
  let bytes = 0;
  const stay = all.filter((each, index) => {
    bytes += sizeOf(each);
    return index === 0 || (index < MOST_PICTURES && bytes <= MOST_BYTES);
  });
  gallery.set(stay);
  const gone = all.filter((each) => !stay.includes(each));
  gone.forEach(forget);
  await set(picture.id, picture, database).catch(() => {});
  if (gone.length)
    await delMany(
      gone.map((each) => each.id),
      database,
    ).catch(() => {});
}

/** @param {Kept} picture */
export async function remove(picture) {
  gallery.set(gallery.value.filter((each) => each !== picture));
  forget(picture);
  await delMany([picture.id], database).catch(() => {});
}

export async function clear() {
  gallery.value.forEach(forget);
  gallery.set([]);
  await clearAll(database).catch(() => {});
}

/** An address by which the page shows a blob, the same for each. @param {Blob} blob */
export function urlOf(blob) {
  if (!urls.has(blob)) urls.set(blob, URL.createObjectURL(blob));
  return urls.get(blob);
}

/** Lets go of a blob that is shown no more. @param {Blob} blob */
export function release(blob) {
  if (urls.has(blob)) URL.revokeObjectURL(urls.get(blob));
  urls.delete(blob);
}

function forget({ picture, files }) {
  [picture, ...Object.values(files)].forEach(release);
}

function sizeOf({ picture, files }) {
  return Object.values(files).reduce((sum, file) => sum + file.size, picture.size);
}
