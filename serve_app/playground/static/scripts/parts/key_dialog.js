/** Where the key is entered. */

import { html, useState } from "../../vendor/preact.js";
import { key } from "../state/key.js";
import { Action } from "./basics.js";
import { Dialog } from "./dialog.js";

export function KeyDialog({ onClose }) {
  const [value, setValue] = useState("");
  const save = (event) => {
    event.preventDefault();
    key.set(value.trim());
    onClose();
  };
  return html`<${Dialog} title="API key" kind="is-small" onClose=${onClose}>
    <form class="key-form" onSubmit=${save}>
      <label class="label" for="key">Key of this service</label>
      <input id="key" class="text" type="password" autocomplete="off" spellcheck="false" autofocus value=${value}
        placeholder=${key.value ? "One is set" : ""} onInput=${(event) => setValue(event.target.value)} />
      <p class="hint">It stays in this tab and goes when you close it.</p>
      <div class="dialog-actions">
        ${key.value && html`<${Action} icon="trash" label="Forget" kind="quiet" onClick=${() => { key.set(""); onClose(); }} />`}
        <button type="submit" class="primary" disabled=${!value.trim()}>Use this key</button>
      </div>
    </form>
  <//>`;
}
