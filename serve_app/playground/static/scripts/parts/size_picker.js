/** The shape of the picture: common ones drawn small, or any width and height that the model makes. */

import { html, useState } from "../../vendor/preact.js";
import { parseSize, problemOf, readableSide, shapesFor, sizeText } from "../logic/sizes.js";
import { NumberInput, Problem } from "./basics.js";

const DRAWN = 26; // pixels, the longer side of a drawing

export function SizePicker({ limits, value, problem, onChange }) {
  const shapes = shapesFor(limits);
  const chosen = value === "auto" ? limits.default_size : value;
  const isCommon = shapes.some(({ size }) => sizeText(size) === chosen);
  const [isFree, setFree] = useState(!isCommon);
  const size = parseSize(chosen);
  const showsFree = isFree || !isCommon;
  return html`<fieldset class="field" id="size" tabindex="-1">
    <legend class="field-head"><span class="label">Shape</span><span class="hint">${size.width} × ${size.height}</span>
      </legend>
    <div class="shapes">
      ${shapes.map(
        (shape) => html`<${Shape} key=${shape.name} name=${shape.name} label=${shape.label} ...${shape.size}
          checked=${!showsFree && sizeText(shape.size) === chosen}
          onChoose=${() => {
            setFree(false);
            onChange(sizeText(shape.size));
          }} />`,
      )}
      <label class="shape">
        <input type="radio" name="shape" checked=${showsFree} onChange=${() => setFree(true)} />
        <span class="shape-drawing"><span class="shape-free" aria-hidden="true">W×H</span></span>
        <span class="shape-name">Free</span>
      </label>
    </div>
    ${showsFree && html`<${FreeSize} limits=${limits} size=${size} onChange=${onChange} />`}
    <${Problem} id="size" text=${problem ?? problemOf(size, limits)} />
  </fieldset>`;
}

function Shape({ name, label, width, height, checked, onChoose }) {
  const scale = DRAWN / Math.max(width, height);
  const drawing = { width: `${width * scale}px`, height: `${height * scale}px` };
  return html`<label class="shape" title="${name}, ${width} × ${height}">
    <input type="radio" name="shape" checked=${checked} onChange=${onChoose} />
    <span class="shape-drawing"><span class="shape-outline" style=${drawing}></span></span>
    <span class="shape-name" aria-hidden="true">${label}</span>
      <span class="hidden">${name}, ${width} by ${height} pixels</span>
  </label>`;
}

function FreeSize({ limits, size, onChange }) {
  const side = (name, value, change) => html`<label class="side">
    <span class="hint">${name}</span>
    <${NumberInput} min=${limits.min_side} max=${limits.max_side} step=${limits.size_multiple} value=${value}
      aria-describedby="size-problem"
      onChange=${(entered) => entered > 0 && onChange(sizeText(change(readableSide(entered))))} />
  </label>`;
  return html`<div class="sides">
    ${side("Width", size.width, (width) => ({ ...size, width }))}
    <span aria-hidden="true">×</span>
    ${side("Height", size.height, (height) => ({ ...size, height }))}
  </div>`;
}
