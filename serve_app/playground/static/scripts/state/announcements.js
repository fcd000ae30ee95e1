/** What a screen reader is told, in a sentence. */

import { Store } from "./store.js";

/** @type {Store<{text: string, number: number}>} numbered, so that the same words twice are two */
export const announcement = new Store({ text: "", number: 0 });

/** @param {string} text */
export function announce(text) {
  announcement.set({ text, number: announcement.value.number + 1 });
}
