"""Figures have their joints where the service's skeletons show them."""

from __future__ import annotations

import random

import numpy as np

from deployments.pose.skeleton import JOINTS
from deployments.pose.skeleton import draw as draw_skeleton
from training.figures import SKIN, body, draw_figure, random_figure


def test_a_skeleton_lies_within_its_figure() -> None:
    chance = random.Random(1)
    for _ in range(20):
        person = random_figure(chance)
        figure = body(person, 256, 256)
        skeleton = draw_skeleton([person], 256, 256).any(-1)
        assert (skeleton & figure).sum() > 0.95 * skeleton.sum()
        assert figure.sum() < 8 * skeleton.sum()


def test_poses_differ_and_are_the_same_for_a_seed() -> None:
    poses = [random_figure(random.Random(seed)) for seed in (1, 1, 2)]
    assert poses[0] == poses[1]
    assert poses[0] != poses[2]
    assert len(poses[0].body) == len(JOINTS)


def test_the_right_hand_is_on_our_left() -> None:
    body = random_figure(random.Random(3)).body
    right, left = body[JOINTS.index("right shoulder")], body[JOINTS.index("left shoulder")]
    assert right is not None
    assert left is not None
    assert right[0] < left[0]


def test_clothes_and_head_have_their_colours() -> None:
    person = random_figure(random.Random(4))
    picture = draw_figure(np.zeros((128, 128, 3), np.float32), person, (10.0, 200.0, 30.0))
    neck, nose = person.body[JOINTS.index("neck")], person.body[JOINTS.index("nose")]
    assert neck is not None
    assert nose is not None
    below = picture[int(neck[1] * 128) + 12, int(neck[0] * 128)]
    assert np.allclose(below, (10, 200, 30))
    assert np.allclose(picture[int(nose[1] * 128), int(nose[0] * 128)], SKIN)
