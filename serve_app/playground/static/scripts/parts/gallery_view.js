/** The pictures made here, small; one opens large. */

import { html, useState } from "../../vendor/preact.js";
import { clear, gallery, urlOf } from "../state/gallery.js";
import { useStore } from "../state/store.js";
import { Action } from "./basics.js";

export function GalleryView({ onShow }) {
  const all = useStore(gallery);
  const [isSure, setSure] = useState(false);
  if (!all.length) return null;
  return html`<section class="gallery" aria-labelledby="gallery-title">
    <div class="gallery-head">
      <h2 id="gallery-title">Your pictures <span class="hint">${all.length}, in this browser only</span></h2>
      ${
        isSure
          ? html`<span class="sure"><span>Delete all ${all.length}?</span>
            <${Action} icon="trash" label="Delete all" kind="danger" onClick=${() => {
              clear();
              setSure(false);
            }} />
            <${Action} icon="close" label="Keep" kind="quiet" onClick=${() => setSure(false)} /></span>`
          : html`<${Action} icon="trash" label="Clear all" kind="quiet" onClick=${() => setSure(true)} />`
      }
    </div>
    <ul class="thumbnails">
      ${all.map(
        (picture) => html`<li key=${picture.id}>
        <button type="button" class="thumbnail" aria-label="Show large: ${picture.fields.prompt}"
          onClick=${() => onShow(picture)}>
          <img src=${urlOf(picture.picture)} alt="" loading="lazy" decoding="async" />
        </button>
      </li>`,
      )}
    </ul>
  </section>`;
}
