"""Trains the text encoders to tell a scene from its caption: `python -m training.text {clip,clip-projected,t5}`.

As with the real models, they are done before any denoiser begins and stay as they are. Linear maps must find what a
caption tells: of the whole scene, from the pooled embedding and from what stands behind the text; and of the thing that
a word speaks of, from that word. A denoiser then has it in reach.

Of T5's padding they must also find how far behind the text it stands: tokens of text, all at position 0,
are FLUX's fixed points for where in a picture it is, and many that are alike tell it little.
"""

from __future__ import annotations

import argparse
import random
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from training.architectures import TEXT_WIDTH, clip_config, t5_config
from training.captions import BACKGROUND, Caption, caption
from training.runs import Run, load_trained
from training.tokenizers import clip_tokenizer, t5_tokenizer
from training.world import COLOURS, PERSON, PLACES, SHAPES, SIZES, random_scene

NAMES = ("clip", "clip-projected", "t5")
UNTOLD = "untold"
KINDS = ("none", *SHAPES, PERSON, "background", UNTOLD)
HUES = ("none", *COLOURS, UNTOLD)
SPOTS = ("none", *PLACES)
SCENE_FACTS = (len(HUES), *(len(KINDS), len(HUES)) * len(PLACES), len(SIZES))  # so many answers each
WORD_FACTS = (len(KINDS), len(HUES), len(SPOTS))
STEPS_BEHIND = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28)  # tokens behind the text; T5 tells far ones apart less well


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.text", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = Student(options.name)
    run = Run(f"text-{options.name}", {"student": student}, options.steps, peak_rate=2e-3)
    chance = random.Random(run.step)
    run.train(lambda: student.loss([_any_caption(chance) for _ in range(options.batch)], chance))
    load_trained(student, run.folder.name, "student")
    with torch.no_grad():
        right = student.share_right([_any_caption(chance) for _ in range(200)], chance)
    print(f"scenes told right, all facts: {right:.1%}")


def new_encoder(name: str) -> tuple[Any, Any]:
    """A tokenizer, and an encoder with random weights."""
    if name == "t5":
        tokenizer = t5_tokenizer()
        return tokenizer, T5EncoderModel(t5_config(len(tokenizer)))
    if name == "clip":
        tokenizer = clip_tokenizer()
        return tokenizer, CLIPTextModel(clip_config(len(tokenizer), "quick_gelu"))
    tokenizer = clip_tokenizer("!")
    return tokenizer, CLIPTextModelWithProjection(clip_config(len(tokenizer), "gelu"))


class Student(nn.Module):
    """A text encoder with the linear maps that question it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._is_t5 = name == "t5"
        self._tokenizer, self.encoder = new_encoder(name)
        self._of_pooled = nn.Linear(TEXT_WIDTH, sum(SCENE_FACTS))
        self._of_rest = nn.Linear(TEXT_WIDTH, sum(SCENE_FACTS))
        self._of_words = nn.Linear(TEXT_WIDTH, sum(WORD_FACTS))
        if self._is_t5:
            self._of_padding = nn.Linear(TEXT_WIDTH, len(STEPS_BEHIND) + 1)

    def loss(self, captions: list[Caption], chance: random.Random) -> Tensor:
        pooled, rest, words, facts, word_facts, is_word, steps_behind = self._answers(captions, chance)
        loss = _loss(self._of_rest(rest), facts, SCENE_FACTS)
        if pooled is not None:
            loss = loss + _loss(self._of_pooled(pooled), facts, SCENE_FACTS)
        if self._is_t5:
            is_near = (steps_behind > 0) & (steps_behind < 40)
            classes = torch.bucketize(steps_behind[is_near], torch.tensor(STEPS_BEHIND))
            loss = loss + 0.3 * F.cross_entropy(self._of_padding(words[is_near]), classes)
        return loss + 0.5 * _loss(self._of_words(words[is_word]), word_facts[is_word], WORD_FACTS)

    def share_right(self, captions: list[Caption], chance: random.Random) -> float:
        """Of captions whose scene is found whole."""
        pooled, rest, _, facts, *_ = self._answers(captions, chance)
        answers = self._of_rest(rest) if pooled is None else self._of_pooled(pooled)
        found = torch.stack([of_fact.argmax(-1) for of_fact in answers.split(SCENE_FACTS, -1)], -1)
        return float((found == facts).all(-1).float().mean())

    def _answers(
        self, captions: list[Caption], chance: random.Random
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The pooled embedding, the mean of what stands behind the text, that of each place; what is true of the scene
        and of each place; whether it is text, and how many tokens it is behind the text."""
        # FLUX has no text mask, so its length must not matter; for CLIP short ones save time.
        length = chance.choice([32, 40, 64, 100] if self._is_t5 else [32, 32, 32, 77])
        encoded = self._tokenizer(
            [caption.plain for caption in captions],
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
            return_offsets_mapping=True,
        )
        ids: Tensor = encoded.input_ids
        ends: Tensor = encoded.offset_mapping[..., 1]
        if self._is_t5:
            hidden, pooled = self.encoder(ids)[0], None
        else:
            output = self.encoder(ids, output_hidden_states=True)
            hidden = output.hidden_states[-2]
            pooled = output.text_embeds if "text_embeds" in output else output.pooler_output
        is_text = ends > 0
        behind = (is_text.flip(1).cumsum(1) == 0).flip(1)
        rest = (hidden * behind[:, :, None]).sum(1) / behind.sum(1, keepdim=True)
        word_facts = torch.zeros(*ids.shape, len(WORD_FACTS), dtype=torch.long)
        for row, one in enumerate(captions):
            stretches = one.stretches()
            for word, until in zip(stretches, accumulate(len(word.text) for word in stretches), strict=True):
                places = (ends[row] > until - len(word.text)) & (ends[row] <= until)
                word_facts[row, places] = torch.tensor(_facts_of_word(one, word.about))
        facts = torch.tensor([facts_of(caption) for caption in captions])
        return pooled, rest, hidden, facts, word_facts, is_text, behind.cumsum(1)


def _any_caption(chance: random.Random) -> Caption:
    return caption(random_scene(chance), chance)


def facts_of(told: Caption) -> list[int]:
    """What a caption tells of its scene, an answer for each of SCENE_FACTS."""
    scene = told.scene
    facts = [HUES.index(scene.background if told.tells_background else UNTOLD)]
    things = {thing.place: thing for thing in scene.things} if told.tells_things else {}
    for place in PLACES:
        thing = things.get(place)
        facts.append(0 if thing is None else KINDS.index(thing.kind if told.tells_kind else UNTOLD))
        facts.append(0 if thing is None else HUES.index(thing.colour if told.tells_colour else UNTOLD))
    size = scene.things[0].size if told.tells_things else ""
    return [*facts, list(SIZES).index(size)]


def _facts_of_word(told: Caption, about: int | None) -> list[int]:
    if about is None:
        return [0, 0, 0]
    if about == BACKGROUND:
        return [KINDS.index("background"), HUES.index(told.scene.background), 0]
    thing = told.scene.things[about]
    return [
        KINDS.index(thing.kind if told.tells_kind else UNTOLD),
        HUES.index(thing.colour if told.tells_colour else UNTOLD),
        SPOTS.index(thing.place),
    ]


def _loss(answers: Tensor, facts: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Mean cross-entropy of a fact."""
    losses = [F.cross_entropy(of_fact, facts[:, index]) for index, of_fact in enumerate(answers.split(counts, -1))]
    return torch.stack(losses).mean()


if __name__ == "__main__":
    main()
