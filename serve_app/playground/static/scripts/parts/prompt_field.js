/**
 * The prompt: Enter sends, Shift+Enter makes a line. Weighed words are marked behind the text while it is typed, by a
 * copy of the text that nobody sees but for its marks, and that also makes the field as high as the text.
 */

import { html, useEffect, useRef } from "../../vendor/preact.js";
import { stretches } from "../logic/weights.js";
import { Problem } from "./basics.js";

const MOST_CHARACTERS = 4000;

export function PromptField({ value, problem, isFirstVisit, onChange, onSend }) {
  const field = useRef(null);
  useEffect(() => {
    if (matchMedia("(pointer: coarse)").matches) return; // no keyboard shall jump up
    field.current.focus();
    if (isFirstVisit) field.current.select();
  }, []);
  const onKeyDown = (event) => {
    const isComposing = event.isComposing || event.keyCode === 229; // so Safari marks the Enter that ends it
    if (event.key !== "Enter" || event.shiftKey || isComposing) return;
    event.preventDefault();
    if (!event.repeat) onSend();
  };
  const left = MOST_CHARACTERS - value.length;
  return html`<div class="field">
    <div class="field-head">
      <label class="label" for="prompt">Prompt</label>
      ${left < 400 && html`<span class="hint">${left} left</span>`}
    </div>
    <div class="prompt">
      <div class="prompt-marks" aria-hidden="true">${stretches(value).map(mark)}${"\n"}</div>
      <textarea id="prompt" ref=${field} class="prompt-text" rows="3" maxlength=${MOST_CHARACTERS} spellcheck="true"
        placeholder="What shall the picture show?" aria-describedby="prompt-help prompt-problem"
        aria-invalid=${problem ? "true" : undefined} enterkeyhint="send" value=${value}
        onInput=${(event) => onChange(event.target.value)} onKeyDown=${onKeyDown}></textarea>
    </div>
    <${Problem} id="prompt" text=${problem} />
    <${WeightHelp} />
  </div>`;
}

function mark({ text, weight, syntax }) {
  if (weight === 1 && !syntax) return text;
  const level = Math.min(3, Math.ceil(Math.abs(weight - 1) * 3));
  return html`<mark class="${weight < 1 ? "less" : "more"}-${level}">${text}</mark>`;
}

function WeightHelp() {
  return html`<details class="help" id="prompt-help">
    <summary>Weigh words</summary>
    <dl>
      <div><dt><code>red(1.5)</code></dt><dd>this word counts one and a half times</dd></div>
      <div><dt><code>(a red circle:1.3)</code></dt><dd>these words count more</dd></div>
      <div><dt><code>(clouds)0.5</code></dt><dd>these count half</dd></div>
      <div><dt><code>\\( \\)</code></dt><dd>plain parentheses</dd></div>
    </dl>
    <p>From 0 to 2. Weighed words are marked while you type.</p>
  </details>`;
}
