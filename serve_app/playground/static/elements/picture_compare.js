/** Stands in for the slider until it is there: the picture after. */

customElements.define(
  "picture-compare",
  class extends HTMLElement {
    show(before, after, alt) {
      const image = document.createElement("img");
      image.alt = alt;
      image.src = after;
      this.replaceChildren(image);
    }
  },
);
