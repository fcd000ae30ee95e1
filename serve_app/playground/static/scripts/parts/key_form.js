/** Where the key is entered: on the page where one is needed, in a dialog where one is changed. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { key } from "../state/key.js";
import { look } from "../state/service_state.js";
import { Action } from "./basics.js";
import { Dialog } from "./dialog.js";

export function KeyForm({ onDone = () => {} }) {
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const [value, setValue] = useState("");
  const use = (chosen) => {
    key.set(chosen);
    look(); // with the same key too: it may be known by now
    setValue("");
    onDone();
  };
  const submit = (event) => {
    event.preventDefault();
    if (value.trim()) use(value.trim());
  };
  return html`<form class="key-form" onSubmit=${submit}>
    <label class="label" for="key">Key of this service</label>
    <input id="key" ref=${field} class="text" type="password" autocomplete="off" spellcheck="false" pattern="[!-~]+"
      title="Letters, digits and signs, without spaces"
      aria-describedby="key-hint" value=${value}
      placeholder=${key.value ? "One is set" : ""} onInput=${(event) => setValue(event.target.value)} />
    <p class="hint" id="key-hint">It stays in this tab and goes when you close it.</p>
    <div class="dialog-actions">
      ${key.value && html`<${Action} icon="trash" label="Forget it" kind="quiet" onClick=${() => use("")} />`}
      <button type="submit" class="primary" disabled=${!value.trim()}>Use this key</button>
    </div>
  </form>`;
}

export function KeyDialog({ onClose }) {
  return html`<${Dialog} title="API key" kind="is-small" onClose=${onClose}><${KeyForm} onDone=${onClose} /><//>`;
}
