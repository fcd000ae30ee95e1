/**
 * The API key, in this tab's session storage and nowhere else: it goes when the tab is closed.
 */

import { Store, keptStore } from "./store.js";

/** @type {Store<string>} empty where there is none */
export const key = keptStore("sessionStorage", "easel-key", "");

/** Whether the service has asked for a key: where it needs none, none is spoken of. @type {Store<boolean>} */
export const keyWanted = new Store(key.value !== "");
