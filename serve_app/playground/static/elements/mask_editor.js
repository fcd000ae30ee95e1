/** Stands in for the editor until it is there: the whole picture, as it is. */

customElements.define(
  "mask-editor",
  class extends HTMLElement {
    limits = null;
    mode = "mask";
    #file = null;

    async open(file) {
      this.#file = file;
      const image = document.createElement("img");
      image.alt = "The picture to edit";
      image.src = URL.createObjectURL(file);
      this.replaceChildren(image);
    }

    close() {
      this.#file = null;
      this.replaceChildren();
    }

    async result() {
      const { width, height } = await createImageBitmap(this.#file);
      return { image: this.#file, mask: null, width, height };
    }
  },
);
