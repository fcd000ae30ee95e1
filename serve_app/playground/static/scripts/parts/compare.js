/** A picture before and after, under a slider. */

import { html, useEffect, useRef } from "../../vendor/preact.js";
import { urlOf } from "../state/gallery.js";

export function Compare({ before, after, name }) {
  const element = useRef(null);
  useEffect(() => {
    element.current.show(urlOf(before), urlOf(after), name);
  }, [before, after]);
  return html`<picture-compare ref=${element}></picture-compare>`;
}
