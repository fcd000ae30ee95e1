/** Everything but prompt, model and shape: what the model of this mode takes, and nothing else. */

import { html, useState } from "../../vendor/preact.js";
import { takes } from "../logic/models.js";
import { QUALITIES } from "../logic/orders.js";
import { IconButton, NumberInput, Problem, Segments, Slider } from "./basics.js";
import { SeedField } from "./seed_field.js";

const MOST_PICTURES = 10;
const IN_MORE = ["steps", "guidance", "seed", "negative", "compression"];
const FORMATS = [
  { value: "png", title: "PNG" },
  { value: "jpeg", title: "JPEG" },
  { value: "webp", title: "WebP" },
];

export function Parameters({ choices, model, problems, change }) {
  const { mode } = choices;
  const set = (name) => (value) => change({ [name]: value });
  return html`<div class="parameters">
    <${Segments} label="Quality" name="quality" options=${QUALITIES} value=${choices.quality}
      onChange=${set("quality")} />
    <${Count} value=${choices.count} problem=${problems.count} onChange=${set("count")} />
    ${
      takes("strength", model, mode) &&
      html`<${Slider} id="strength" label="Change" automatic least=${0.05} most=${1} step=${0.05} usual=${0.6}
      hint="How much of the picture is made anew." value=${choices.strength} problem=${problems.strength}
      onChange=${set("strength")} />`
    }
    ${
      takes("pose_strength", model, mode) &&
      html`<${Slider} id="poseStrength" label="Pose strength" least=${0} most=${2} step=${0.05} usual=${1}
      hint="How strictly the pose is kept." value=${choices.poseStrength} problem=${problems.poseStrength}
      onChange=${set("poseStrength")} />
      <${Slider} id="poseEnd" label="Pose until" least=${0} most=${1} step=${0.05} usual=${1}
      hint="The share of the steps that it guides." value=${choices.poseEnd} problem=${problems.poseEnd}
      onChange=${set("poseEnd")} />`
    }
    <${More} isNeeded=${IN_MORE.some((name) => problems[name])}>
      <div class="more-fields">
        <${Slider} id="steps" label="Steps" automatic least=${1} most=${model.limits.max_steps}
          usual=${Math.min(20, model.limits.max_steps)}
          hint="More take longer and show finer detail." value=${choices.steps} problem=${problems.steps}
          onChange=${set("steps")} />
        ${
          takes("guidance_scale", model, mode) &&
          html`<${Slider} id="guidance" label="Guidance" automatic least=${0} most=${30} step=${0.5} usual=${5}
          hint="How strictly the prompt is followed." value=${choices.guidance} problem=${problems.guidance}
          onChange=${set("guidance")} />`
        }
        <${SeedField} value=${choices.seed} problem=${problems.seed} onChange=${set("seed")} />
        ${
          takes("negative_prompt", model, mode) &&
          html`<${Negative} value=${choices.negative} problem=${problems.negative} onChange=${set("negative")} />`
        }
        <${Segments} label="File" name="format" options=${FORMATS} value=${choices.format} onChange=${set("format")} />
        ${
          choices.format !== "png" &&
          html`<${Slider} id="compression" label="File quality" least=${0} most=${100} usual=${90}
          hint="Less makes smaller files." value=${choices.compression} problem=${problems.compression}
          onChange=${set("compression")} />`
        }
      </div>
    <//>
  </div>`;
}

/** Open where something in it is wrong; what it shows when it is opened comes into view. */
function More({ isNeeded, children }) {
  const [isOpen, setOpen] = useState(false);
  const toggle = ({ target }) => {
    setOpen(target.open);
    if (target.open) target.scrollIntoView({ behavior: "smooth", block: "nearest" });
  };
  return html`<details class="more" open=${isOpen || isNeeded} onToggle=${toggle}>
    <summary>More</summary>${children}</details>`;
}

function Count({ value, problem, onChange }) {
  const to = (count) => onChange(Math.min(MOST_PICTURES, Math.max(1, Math.round(count) || 1)));
  return html`<div class="field field-row">
    <label class="label" for="count">Pictures</label>
    <div class="stepper">
      <${IconButton} icon="minus" label="One picture less" disabled=${value <= 1} onClick=${() => to(value - 1)} />
      <${NumberInput} id="count" min="1" max=${MOST_PICTURES} value=${value} aria-describedby="count-problem"
        onChange=${to} />
      <${IconButton} icon="plus" label="One picture more" disabled=${value >= MOST_PICTURES}
        onClick=${() => to(value + 1)} />
    </div>
    <${Problem} id="count" text=${problem} />
  </div>`;
}

function Negative({ value, problem, onChange }) {
  return html`<div class="field">
    <label class="label" for="negative">Without</label>
    <textarea id="negative" class="text" rows="2" maxlength="4000" placeholder="blurry, text"
      aria-describedby="negative-hint negative-problem"
      value=${value} onInput=${(event) => onChange(event.target.value)}></textarea>
    <p class="hint" id="negative-hint">What the picture must not show.</p>
    <${Problem} id="negative" text=${problem} />
  </div>`;
}
