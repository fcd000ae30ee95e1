/** The smallest parts: icons, buttons with a name, labelled fields. */

import { html, useEffect, useState } from "../../vendor/preact.js";

/** A drawing of icons.svg, which says nothing to a screen reader. */
export function Icon({ name }) {
  return html`<svg class="icon" aria-hidden="true" focusable="false"><use href="playground/icons.svg#${name}" /></svg>`;
}

/** A button that is an icon alone; its label is its name and its tooltip. */
export function IconButton({ icon, label, onClick, pressed, kind = "", disabled = false }) {
  return html`<button type="button" class="icon-button ${kind}" aria-label=${label} title=${label}
    aria-pressed=${pressed}
    disabled=${disabled} onClick=${onClick}><${Icon} name=${icon} /></button>`;
}

/** A button of icon and words. */
export function Action({ icon, label, onClick, kind = "", disabled = false }) {
  return html`<button type="button" class="action ${kind}" disabled=${disabled} onClick=${onClick}>
    <${Icon} name=${icon} /><span>${label}</span></button>`;
}

/** What is wrong with a field, below it. The field names it by `aria-describedby`. */
export function Problem({ id, text }) {
  return html`<p class="problem" id="${id}-problem"
    aria-live="polite">${text && html`<${Icon} name="alert" />${text}`}</p>`;
}

/** One of a few, as a row of radio buttons. */
export function Segments({ label, name, options, value, onChange, hideLabel = false }) {
  return html`<fieldset class="field segments-field">
    <legend class=${hideLabel ? "hidden" : "label"}>${label}</legend>
    <div class="segments">
      ${options.map(
        (option) => html`<label class="segment" key=${option.value}>
          <input type="radio" name=${name} value=${option.value} checked=${option.value === value}
            onChange=${() => onChange(option.value)} />
          <span>${option.icon && html`<${Icon} name=${option.icon} />`}${option.title}</span>
        </label>`,
      )}
    </div>
  </fieldset>`;
}

/** Whether the window is a phone's: all is below one another. The width is layout.css's. */
export function useNarrow() {
  const [query] = useState(() => matchMedia("(max-width: 860px)"));
  const [isNarrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const tell = () => setNarrow(query.matches);
    query.addEventListener("change", tell);
    return () => query.removeEventListener("change", tell);
  }, []);
  return isNarrow;
}

/**
 * A number by keyboard. It counts when the field is left; until then it stays as it is typed, whatever else is drawn anew.
 * What `onChange` gets is NaN where the field is empty.
 */
export function NumberInput({ value, onChange, ...attributes }) {
  const [typed, setTyped] = useState(null);
  return html`<input class="number" type="number" inputmode="numeric" value=${typed ?? value ?? ""} ...${attributes}
    onInput=${(event) => setTyped(event.target.value)}
    onChange=${(event) => {
      setTyped(null);
      onChange(event.target.valueAsNumber);
    }}
    onBlur=${() => setTyped(null)} />`;
}

/** A number by slider and by keyboard; null, where that is allowed, is the service's own choice. */
export function Slider({ id, label, hint, value, least, most, step = 1, usual, automatic = false, problem, onChange }) {
  const number = value === null ? null : Math.min(value, most); // as it is sent, where another model took more
  const change = (entered) => {
    if (Number.isNaN(entered)) onChange(automatic ? null : usual);
    else onChange(Math.min(most, Math.max(least, entered)));
  };
  return html`<div class="field slider ${value === null ? "is-automatic" : ""}">
    <div class="field-head">
      <label class="label" for=${id}>${label}</label>
      ${
        automatic &&
        value !== null &&
        html`<button type="button" class="link"
        onClick=${() => onChange(null)}>Automatic</button>`
      }
      <${NumberInput} id=${id} inputmode="decimal" min=${least} max=${most} step=${step} value=${number}
        placeholder="auto" aria-describedby="${id}-hint ${id}-problem" aria-invalid=${problem ? "true" : undefined}
        onChange=${change} />
    </div>
    <input type="range" aria-label="${label}, slider" min=${least} max=${most} step=${step} value=${number ?? usual}
      aria-valuetext=${value === null ? "automatic" : undefined}
      onInput=${(event) => change(event.target.valueAsNumber)} />
    <p class="hint" id="${id}-hint">${hint}</p>
    <${Problem} id=${id} text=${problem} />
  </div>`;
}
