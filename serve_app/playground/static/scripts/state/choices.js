/**
 * What is chosen on the page, kept in the browser from visit to visit: never the key, never a picture.
 */

import { FIRST_CHOICES } from "../logic/orders.js";
import { readableSize } from "../logic/sizes.js";
import { keptStore } from "./store.js";

/** @type {import("./store.js").Store<import("../logic/orders.js").Choices>} */
export const choices = keptStore("localStorage", "easel-choices", FIRST_CHOICES);

const size = readableSize(choices.value.size); // what was kept may be none
if (size !== choices.value.size) choices.change({ size });


/** Whether nobody chose anything here before. */
export const isFirstVisit = choices.isNew;

/** @type {import("./store.js").Store<{theme: "system" | "light" | "dark"}>} */
export const appearance = keptStore("localStorage", "easel-appearance", { theme: "system" });
