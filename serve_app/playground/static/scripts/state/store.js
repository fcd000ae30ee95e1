/** A value that parts of the page watch. */

import { useEffect, useState } from "../../vendor/preact.js";

/** @template T */
export class Store {
  #listeners = new Set();
  #value;

  /** @param {T} value */
  constructor(value) {
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  /** @param {T} value */
  set(value) {
    if (value === this.#value) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) listener(value);
  }

  /** @param {Partial<T>} changes - of an object's properties */
  change(changes) {
    this.set({ ...this.#value, ...changes });
  }

  /** @param {(value: T) => void} listener @returns {() => void} which ends it */
  watch(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** The value in a component, which is drawn anew whenever it changes. @template T @param {Store<T>} store @returns {T} */
export function useStore(store) {
  const [value, setValue] = useState(store.value);
  useEffect(() => {
    setValue(store.value); // it may have changed before this watched
    return store.watch(setValue);
  }, [store]);
  return value;
}

/**
 * A store that outlives the page where the browser lets it.
 *
 * @template {object} T
 * @param {Storage} storage
 * @param {string} name
 * @param {T} first
 * @returns {Store<T>}
 */
export function keptStore(storage, name, first) {
  let value = first;
  try {
    value = { ...first, ...JSON.parse(storage.getItem(name) ?? "{}") };
  } catch {
    // the storage is shut, or holds what is none of ours
  }
  const store = new Store(value);
  store.watch((changed) => {
    try {
      storage.setItem(name, JSON.stringify(changed));
    } catch {
      // it is full or shut: then it lasts as long as the page
    }
  });
  return store;
}
