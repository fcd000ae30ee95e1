/** What a picture is made from beside words: the picture to edit in its editor, or the pose in its own. */

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { chosenMode, chosenModel, needsMask } from "../logic/models.js";
import { parseSize } from "../logic/sizes.js";
import { keyHeaders } from "../service.js";
import { choices } from "../state/choices.js";
import { problems } from "../state/problems.js";
import { service } from "../state/service_state.js";
import { editors, photo, picture } from "../state/source.js";
import { useStore } from "../state/store.js";
import { Action, Problem } from "./basics.js";
import { Dropzone } from "./dropzone.js";

/** Both stay where they are, seen or not, so that what was painted or posed is there when one comes back to it. */
export function Source() {
  const { mode: wanted, model: name, size } = useStore(choices);
  const models = useStore(service).models ?? [];
  const mode = chosenMode(wanted, models);
  const [editing, posing] = [chosenModel("edit", name, models), chosenModel("pose", name, models)];
  return html`
    ${editing && html`<div hidden=${mode !== "edit"}><${EditSource} model=${editing} /></div>`}
    ${posing && html`<div hidden=${mode !== "pose"}><${PoseSource} model=${posing} size=${size} /></div>`}`;
}

function EditSource({ model }) {
  const file = useStore(picture);
  const wrong = useStore(problems).picture;
  const element = useRef(null);
  useEffect(() => {
    if (!file) return undefined;
    editors.edit = element.current;
    element.current.open(file).catch((error) => {
      picture.set(null);
      problems.set({ picture: error.message });
    });
    return () => {
      editors.edit = null;
    };
  }, [file]);
  useEffect(() => {
    if (!file) return;
    element.current.limits = { ...model.limits, multiple: model.limits.size_multiple };
    element.current.maxBytes = model.limits.max_image_bytes;
  }, [file, model]);
  if (!file) {
    return html`<${Dropzone} id="picture" title="Drop the picture to edit here" problem=${wrong}
      onPicture=${(chosen) => picture.set(chosen)}
      hint=${
        needsMask(model)
          ? "Or paste it. Then paint over what shall change, or extend the frame beyond its edges."
          : "Or paste it. Then paint over what shall change, extend its frame, or do neither to vary all of it."
      } />`;
  }
  return html`<section class="source" aria-label="Picture to edit">
    <mask-editor ref=${element}></mask-editor>
    <div class="source-foot">
      <${Problem} id="picture" text=${wrong} />
      <${Action} icon="close" label="Another picture" kind="quiet" onClick=${() => picture.set(null)} />
    </div>
  </section>`;
}

function PoseSource({ model, size }) {
  const file = useStore(photo);
  const wrong = useStore(problems).pose;
  const [hasPose, setHasPose] = useState(false);
  const [isLooking, setLooking] = useState(false);
  const element = useRef(null);
  const { width, height } = parseSize(size === "auto" ? model.limits.default_size : size);
  useEffect(() => {
    element.current.size = { width, height };
    editors.pose = element.current;
    return () => {
      editors.pose = null;
    };
  }, [width, height]);
  const begin = () => {
    element.current.standing();
    setHasPose(true);
    problems.set({});
  };
  useEffect(() => {
    if (!file) return;
    setLooking(true);
    element.current
      .find(file, keyHeaders())
      .then(() => {
        setHasPose(true);
        problems.set({});
      })
      .catch((error) => error.name === "AbortError" || problems.set({ pose: error.message }))
      .finally(() => {
        setLooking(false);
        photo.set(null);
      });
  }, [file]);
  return html`<section class="source" aria-label="Pose" aria-busy=${isLooking}>
    <div class="pose-holder" hidden=${!hasPose}><pose-editor ref=${element}></pose-editor></div>
    <${Dropzone} id="pose" isCompact=${hasPose}
      title=${isLooking ? "Looking for people…" : hasPose ? "Another photo" : "Drop a photo of a person here"}
      problem=${wrong}
      hint="Or paste it. The picture follows the pose; drag its joints to change it."
      onPicture=${(chosen) => photo.set(chosen)}>
      <${Action} icon="pose" label="Standing figure" onClick=${begin} />
    <//>
  </section>`;
}
