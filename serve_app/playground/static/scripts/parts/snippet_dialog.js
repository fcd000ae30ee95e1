/** The request of a picture as a program, to copy; and the files that it sends. */

import { html, useState } from "../../vendor/preact.js";
import { snippetsOf } from "../logic/snippets.js";
import { ORIGIN } from "../service.js";
import { announce } from "../state/announcements.js";
import { urlOf } from "../state/gallery.js";
import { keyWanted } from "../state/key.js";
import { Action, Icon, Segments } from "./basics.js";
import { Dialog } from "./dialog.js";

const LANGUAGES = [
  { value: "curl", title: "curl" },
  { value: "python", title: "Python" },
  { value: "javascript", title: "JavaScript" },
];

export function SnippetDialog({ picture, onClose }) {
  const [language, setLanguage] = useState("curl");
  const [isCopied, setCopied] = useState(false);
  const { kind, seed } = picture;
  const { n: _, ...once } = picture.fields; // the seed makes this one
  const names = Object.fromEntries(
    Object.entries(picture.files).map(([field, file]) => [field, `${field}.${file.type.split("/")[1]}`]),
  );
  const sample = { origin: ORIGIN, kind, fields: { ...once, seed }, files: names, needsKey: keyWanted.value };
  const snippet = snippetsOf(sample)[language];
  const copy = async () => {
    await copyText(snippet);
    setCopied(true);
    announce("Copied.");
  };
  return html`<${Dialog} title="The same by program" onClose=${onClose}>
    <${Segments} label="Language" hideLabel name="language" options=${LANGUAGES} value=${language}
      onChange=${(value) => {
        setLanguage(value);
        setCopied(false);
      }} />
    <pre class="snippet" tabindex="0" aria-label="Program">${snippet}</pre>
    ${
      sample.needsKey &&
      html`<p
      class="hint">It reads the key from the environment variable <code>EASEL_API_KEY</code>.</p>`
    }
    <div class="dialog-actions">
      ${Object.entries(names).map(
        ([field, name]) => html`<a class="action" key=${field} href=${urlOf(picture.files[field])} download=${name}>
        <${Icon} name="download" /><span>${name}</span></a>`,
      )}
      <${Action} icon=${isCopied ? "check" : "copy"} label=${isCopied ? "Copied" : "Copy"} kind="strong"
        onClick=${copy} />
    </div>
  <//>`;
}

/** Where the page has no secure origin the browser offers no clipboard, but for what is selected. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    // then as browsers did before
  }
  const field = document.createElement("textarea");
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
