/** The form: how to ask, of which model, for what. */

import { html } from "../../vendor/preact.js";
import { ask, change } from "../ask.js";
import { chosenMode, chosenModel, modelsFor, modesOf, titleOf } from "../logic/models.js";
import { carriedSize } from "../logic/sizes.js";
import { choices, isFirstVisit } from "../state/choices.js";
import { problems } from "../state/problems.js";
import { isReady, service } from "../state/service_state.js";
import { useStore } from "../state/store.js";
import { Icon, Problem, Segments, useNarrow } from "./basics.js";
import { Parameters } from "./parameters.js";
import { PromptField } from "./prompt_field.js";
import { SizePicker } from "./size_picker.js";
import { Source } from "./source_view.js";

const MODES = {
  text: { title: "From words", icon: "text" },
  edit: { title: "Edit", icon: "brush" },
  pose: { title: "Pose", icon: "pose" },
};

export function Composer() {
  const chosen = useStore(choices);
  const wrong = useStore(problems);
  const { models, states } = useStore(service);
  const modes = modesOf(models ?? []);
  const mode = chosenMode(chosen.mode, models ?? []);
  const model = models && chosenModel(mode, chosen.model, models);
  const isNarrow = useNarrow();
  const submit = (event) => {
    event.preventDefault();
    ask();
  };
  const switchMode = (next) => change({ mode: next, ...withSize(model, chosenModel(next, chosen.model, models)) });
  return html`<form class="composer" aria-label="What to make" novalidate onSubmit=${submit}>
    <div class="composer-fields">
      ${
        modes.length > 1 &&
        html`<${Segments} label="How" hideLabel name="mode" value=${mode}
          onChange=${switchMode}
          options=${modes.map((each) => ({ value: each, ...MODES[each] }))} />`
      }
      ${isNarrow && html`<${Source} />`}
      <${PromptField} value=${chosen.prompt} problem=${wrong.prompt} isFirstVisit=${isFirstVisit}
        onChange=${(prompt) => change({ prompt })} onSend=${ask} />
      ${
        model
          ? html`
        <${ModelPicker} models=${modelsFor(mode, models)} model=${model} state=${states[model.id]}
          problem=${wrong.model} />
        ${
          mode !== "edit" &&
          html`<${SizePicker} key=${model.id} limits=${model.limits} value=${chosen.size} problem=${wrong.size}
          onChange=${(size) => change({ size })} />`
        }
        <${Parameters} choices=${{ ...chosen, mode }} model=${model} problems=${wrong} change=${change} />`
          : html`<${Placeholders} />`
      }
    </div>
    <div class="composer-foot">
      <button type="submit" class="primary" disabled=${!model}>
        <span>${chosen.count > 1 ? `Make ${chosen.count} pictures` : "Make the picture"}</span>
        <kbd aria-hidden="true">Enter</kbd>
      </button>
    </div>
  </form>`;
}

/** The size that stands for the chosen one with another model. */
function withSize(model, next) {
  return { size: carriedSize(choices.value.size, model.limits, next.limits) };
}

function ModelPicker({ models, model, state, problem }) {
  const choose = (event) => {
    const next = models.find((each) => each.id === event.target.value);
    change({ model: next.id, ...withSize(model, next) });
  };
  return html`<div class="field">
    <div class="field-head">
      <label class="label" for="model">Model</label>
      ${!isReady(state) && html`<span class="badge">${state}</span>`}
    </div>
    <div class="select">
      <select id="model" value=${model.id} aria-describedby="model-problem" onChange=${choose}>
        ${models.map((each) => html`<option key=${each.id} value=${each.id}>${titleOf(each.id)}</option>`)}
      </select>
      <${Icon} name="down" />
    </div>
    <${Problem} id="model" text=${problem} />
  </div>`;
}

/** Where fields will be once the models are known, so that nothing jumps. */
function Placeholders() {
  return html`<div class="placeholders" aria-hidden="true"><span></span><span></span><span></span></div>`;
}
