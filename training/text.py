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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from training.architectures import TEXT_WIDTH, clip_config, t5_config
from training.captions import BACKGROUND, Caption, captions
from training.runs import Run, load_trained
from training.tokenizers import clip_tokenizer, t5_tokenizer
from training.world import COLOURS, PERSON, PLACES, SHAPES, SIZES

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
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    student = Student(options.name)
    run = Run(f"text-{options.name}", {"student": student}, options.steps, peak_rate=2e-3)
    run.train(lambda: student.loss(captions(options.batch, run.chance), run.chance))
    load_trained(student, run.folder.name, "student")
    student.eval()
    chance = random.Random(1_000_000)  # no step's
    with torch.no_grad():
        right = student.share_right(captions(200, chance), chance)
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


def outputs(encoder: Any, ids: Tensor) -> tuple[Tensor, Tensor | None]:
    """What denoisers are told of: the embeddings of each place, of shape (texts, length, TEXT_WIDTH), and pooled ones,
    of shape (texts, TEXT_WIDTH); T5 has none of these."""
    if isinstance(encoder, T5EncoderModel):
        return encoder(ids)[0], None
    output = encoder(ids, output_hidden_states=True)
    return output.hidden_states[-2], output.text_embeds if "text_embeds" in output else output.pooler_output


@dataclass(frozen=True, slots=True)
class Read:
    """What an encoder made of captions, and what is true of them."""

    pooled: Tensor | None  # embeddings, of shape (captions, TEXT_WIDTH); T5 has none
    behind: Tensor  # the same, the mean of those behind the text
    hidden: Tensor  # the same of each place, of shape (captions, length, TEXT_WIDTH)
    facts: Tensor  # of the scenes, of shape (captions, facts)
    word_facts: Tensor  # of each place, of shape (captions, length, facts)
    is_text: Tensor  # bool, of shape (captions, length)
    steps_behind: Tensor  # how many tokens each place is behind the text, of the same shape


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

    def loss(self, told: Sequence[Caption], chance: random.Random) -> Tensor:
        """How far the maps are from finding what captions tell."""
        read = self._read(told, chance)
        loss = _loss(self._of_rest(read.behind), read.facts, SCENE_FACTS)
        if read.pooled is not None:
            loss = loss + _loss(self._of_pooled(read.pooled), read.facts, SCENE_FACTS)
        if self._is_t5:
            is_near = (read.steps_behind > 0) & (read.steps_behind < 40)
            classes = torch.bucketize(read.steps_behind[is_near], torch.tensor(STEPS_BEHIND))
            loss = loss + 0.3 * F.cross_entropy(self._of_padding(read.hidden[is_near]), classes)
        of_words = self._of_words(read.hidden[read.is_text])
        return loss + 0.5 * _loss(of_words, read.word_facts[read.is_text], WORD_FACTS)

    def share_right(self, told: Sequence[Caption], chance: random.Random) -> float:
        """Of captions whose scene is found whole, 0 … 1."""
        read = self._read(told, chance)
        answers = self._of_rest(read.behind) if read.pooled is None else self._of_pooled(read.pooled)
        found = torch.stack([of_fact.argmax(-1) for of_fact in answers.split(SCENE_FACTS, -1)], -1)
        return float((found == read.facts).all(-1).float().mean())

    def _read(self, told: Sequence[Caption], chance: random.Random) -> Read:
        # FLUX has no text mask, so its length must not matter; for CLIP short ones save time.
        length = chance.choice([32, 40, 64, 100] if self._is_t5 else [32, 32, 32, 77])
        encoded = self._tokenizer(
            [one.plain for one in told],
            padding="max_length",
            max_length=length,
            truncation=True,
            return_tensors="pt",
            return_offsets_mapping=True,
        )
        ids: Tensor = encoded.input_ids
        ends: Tensor = encoded.offset_mapping[..., 1]
        hidden, pooled = outputs(self.encoder, ids)
        is_text = ends > 0
        behind = (is_text.flip(1).cumsum(1) == 0).flip(1)
        mean = (hidden * behind[:, :, None]).sum(1) / behind.sum(1, keepdim=True)
        word_facts = torch.zeros(*ids.shape, len(WORD_FACTS), dtype=torch.long)
        for row, one in enumerate(told):
            stretches = one.stretches()
            for word, until in zip(stretches, accumulate(len(word.text) for word in stretches), strict=True):
                places = (ends[row] > until - len(word.text)) & (ends[row] <= until)
                word_facts[row, places] = torch.tensor(_facts_of_word(one, word.about))
        facts = torch.tensor([facts_of(one) for one in told])
        return Read(pooled, mean, hidden, facts, word_facts, is_text, behind.cumsum(1))


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
