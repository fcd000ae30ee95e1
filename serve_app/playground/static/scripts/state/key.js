/**
 * The API key, in this tab's session storage and nowhere else: it goes when the tab is closed.
 */

import { Store } from "./store.js";

const NAME = "easel-key";

/** @type {Store<string>} empty where there is none */
export const key = new Store(sessionStorage.getItem(NAME) ?? "");

/** Whether the service has asked for a key: where it needs none, none is spoken of. @type {Store<boolean>} */
export const keyWanted = new Store(key.value !== "");

key.watch((value) => {
  if (value) sessionStorage.setItem(NAME, value);
  else sessionStorage.removeItem(NAME);
});
