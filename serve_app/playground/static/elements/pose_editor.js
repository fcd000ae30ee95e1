/**
 * `<pose-editor>`: people whose joints are dragged into a pose, from a photo or from a figure that stands.
 *
 * Properties: `size`, `{width, height}` of the picture to be made; `maxBytes`, of a photo that is sent; `pose`, the
 * `keypoints` of a request for the picture, or null. Methods: `find(photo, headers)`, which asks the service, and
 * `standing()`. The event `change` tells that `pose` is another since a person did something, which `find` and
 * `standing` are too.
 */

import { MOST_BYTES, fitted } from "./image_file.js";
import { asUrl, findPeople } from "./pose/finder.js";
import { read, written } from "./pose/keypoints.js";
import { standing } from "./pose/skeleton.js";
import { headCount } from "./pose/stage.js";
import { Workbench } from "./pose/workbench.js";

const FIRST_SIZE = { width: 1024, height: 1024 };

class PoseEditor extends HTMLElement {
  maxBytes = MOST_BYTES;
  #workbench = new Workbench(FIRST_SIZE, () => this.#changed());
  #resizes = new ResizeObserver(() => this.#workbench.draw());
  #search = null;

  constructor() {
    super();
    this.addEventListener("keydown", (event) => this.#workbench.shortcut(event));
  }

  connectedCallback() {
    if (!this.children.length) this.append(...this.#workbench.elements);
    this.#resizes.observe(this);
    this.#workbench.draw();
  }

  disconnectedCallback() {
    this.#resizes.disconnect();
  }

  get size() {
    return this.#workbench.size;
  }

  set size({ width, height }) {
    if (!(width > 0 && height > 0)) throw new TypeError("A size has a width and a height in pixels.");
    this.#workbench.size = { width, height };
  }

  get pose() {
    return written(this.#workbench.people, this.size, this.#workbench.showsHands);
  }

  set pose(pose) {
    const { people, canvas } = pose ? read(pose, this.size) : { people: [], canvas: this.size };
    this.#workbench.load(people, canvas);
  }

  standing() {
    this.#workbench.load([standing(this.size)], this.size);
    this.#changed();
  }

  /**
   * Takes over the pose of the people in a photo, of which a large one is sent smaller. Throws as findPeople does; a
   * later call ends an earlier one.
   */
  async find(photo, headers = {}) {
    this.#search?.abort();
    const search = new AbortController();
    this.#search = search;
    this.setAttribute("aria-busy", "true");
    this.#workbench.say("Looking for people…");
    try {
      const sent = await fitted(photo, this.maxBytes);
      const [found, url] = await Promise.all([findPeople(sent, headers, search.signal), asUrl(sent)]);
      this.#workbench.load(found.people, found.canvas, url);
      this.#workbench.say(`${headCount(found.people.length)} found`);
      this.#changed();
    } catch (error) {
      if (!search.signal.aborted) this.#workbench.say(error.message, { isError: true });
      throw error;
    } finally {
      if (this.#search === search) {
        this.#search = null;
        this.removeAttribute("aria-busy");
      }
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }
}

customElements.define("pose-editor", PoseEditor);
