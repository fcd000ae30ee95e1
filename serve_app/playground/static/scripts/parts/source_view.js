/** What a picture is made from beside words: the picture to edit in its editor, or the pose in its own. */

import { html, useEffect, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { chosenMode, chosenModel, needsMask } from "../logic/models.js";
import { parseSize } from "../logic/sizes.js";
import { choices } from "../state/choices.js";
import { problems } from "../state/problems.js";
import { service } from "../state/service_state.js";
import { editors, hasPose, photo, picture } from "../state/source.js";
import { useStore } from "../state/store.js";
import { Action, Problem } from "./basics.js";
import { Dropzone } from "./dropzone.js";

/** The one that the mode has a use for. */
export function Source() {
  const { mode: wanted, model: name, size } = useStore(choices);
  const models = useStore(service).models ?? [];
  const mode = chosenMode(wanted, models);
  const model = chosenModel(mode, name, models);
  if (mode === "edit") return html`<${EditSource} model=${model} />`;
  return mode === "pose" && html`<${PoseSource} model=${model} size=${size} />`;
}

function EditSource({ model }) {
  const given = useStore(picture);
  const wrong = useStore(problems).picture;
  useEffect(() => {
    editors.edit.limits = { ...model.limits, multiple: model.limits.size_multiple };
    editors.edit.maxBytes = model.limits.max_image_bytes;
  }, [model]);
  if (!given) {
    return html`<${Dropzone} id="picture" title="Drop the picture to edit here" problem=${wrong}
      onPicture=${(image) => picture.set({ image })}
      hint=${
        needsMask(model)
          ? "Or paste it. Then paint over what shall change, or extend the frame beyond its edges."
          : "Or paste it. Then paint over what shall change, extend its frame, or do neither to vary all of it."
      } />`;
  }
  return html`<section class="source" aria-label="Picture to edit">
    <${Editor} element=${editors.edit} />
    <div class="source-foot">
      <${Problem} id="picture" text=${wrong} />
      <${Action} icon="close" label="Another picture" kind="quiet" onClick=${() => picture.set(null)} />
    </div>
  </section>`;
}

function PoseSource({ model, size }) {
  const isLooking = useStore(photo) !== null;
  const isPosed = useStore(hasPose);
  const wrong = useStore(problems).pose;
  const { width, height } = parseSize(size === "auto" ? model.limits.default_size : size);
  useEffect(() => {
    editors.pose.size = { width, height };
  }, [width, height]);
  useEffect(() => {
    editors.pose.maxBytes = model.limits.max_image_bytes;
  }, [model]);
  return html`<section class="source" aria-label="Pose" aria-busy=${isLooking}>
    <div class="pose-holder" hidden=${!isPosed}><${Editor} element=${editors.pose} /></div>
    <${Dropzone} id="pose" isCompact=${isPosed}
      title=${isLooking ? "Looking for people…" : isPosed ? "Another photo" : "Drop a photo of a person here"}
      problem=${wrong}
      hint="Or paste it. The picture follows the pose; drag its joints to change it."
      onPicture=${(chosen) => photo.set(chosen)}>
      <${Action} icon="pose" label="Standing figure" onClick=${() => editors.pose.standing()} />
    <//>
  </section>`;
}

/** Where an editor is now. */
function Editor({ element }) {
  const place = useRef(null);
  useLayoutEffect(() => place.current.append(element), [element]);
  return html`<div ref=${place}></div>`;
}
