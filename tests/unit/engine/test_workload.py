from __future__ import annotations

import pytest

from deployments.engine.workload import CallKind, CallLog, Recipes, Role, Workload

TEXT, UNET, NET, VAE = (CallKind(name, 2) for name in ("text", "unet", "controlnet", "vae"))


def log(steps: int, *, guides: int = 0, finished: bool = True) -> CallLog:
    """Of a request with two texts, `steps` steps, the first `guides` of them guided, and a picture."""
    log = CallLog()
    for _ in range(2):
        log.add(TEXT, Role.SURROUNDS)
    for step in range(steps):
        if step < guides:
            log.add(NET, Role.GUIDES)
        log.add(UNET, Role.DENOISES)
    if finished:
        log.add(VAE, Role.SURROUNDS)
    return log


def remaining(recipes: Recipes, workload: Workload, done: CallLog | None = None) -> dict[CallKind, float]:
    return {left.call: left.count * left.scale for left in recipes.remaining(workload, done or CallLog())}


@pytest.fixture
def recipes() -> Recipes:
    recipes = Recipes()
    recipes.learn(Workload("plain", pixels=64, steps=4), log(4))
    return recipes


def test_nothing_is_known_before_a_request_has_finished() -> None:
    assert remaining(Recipes(), Workload()) == {}


def test_requests_of_a_kind_differ_in_their_steps(recipes: Recipes) -> None:
    assert remaining(recipes, Workload("plain", pixels=64, steps=50)) == {TEXT: 2, UNET: 50, VAE: 1}


def test_what_was_called_is_not_left(recipes: Recipes) -> None:
    workload = Workload("plain", pixels=64, steps=10)
    assert remaining(recipes, workload, log(3, finished=False)) == {UNET: 7, VAE: 1}
    assert remaining(recipes, workload, log(10)) == {}


def test_guides_are_called_for_a_share_of_the_steps(recipes: Recipes) -> None:
    recipes.learn(Workload("posed", pixels=64, steps=4), log(4, guides=2))
    assert remaining(recipes, Workload("posed", pixels=64, steps=20)) == {TEXT: 2, NET: 10, UNET: 20, VAE: 1}


def test_a_scheduler_of_second_order_denoises_twice_a_step(recipes: Recipes) -> None:
    recipes.learn(Workload("plain", pixels=64, steps=2), log(4))
    assert remaining(recipes, Workload("plain", pixels=64, steps=3))[UNET] == 6


def test_another_size_borrows_from_the_nearest_in_proportion(recipes: Recipes) -> None:
    recipes.learn(Workload("plain", pixels=1000, steps=4), log(4))
    assert remaining(recipes, Workload("plain", pixels=128, steps=4)) == {TEXT: 4, UNET: 8, VAE: 2}
    assert remaining(recipes, Workload("plain", pixels=2000, steps=4)) == {TEXT: 4, UNET: 8, VAE: 2}


def test_another_kind_borrows_where_nothing_of_its_own_is_known(recipes: Recipes) -> None:
    assert remaining(recipes, Workload("edit", pixels=64, steps=4)) == {TEXT: 2, UNET: 4, VAE: 1}
    recipes.learn(Workload("edit", pixels=640, steps=4), log(4, guides=4))
    assert NET not in remaining(recipes, Workload("edit", pixels=64, steps=4))  # its size counts for more
    assert NET in remaining(recipes, Workload("edit", pixels=128, steps=4))


def test_a_text_that_was_known_does_not_make_the_next_one_free(recipes: Recipes) -> None:
    cached = CallLog()
    for _ in range(4):
        cached.add(UNET, Role.DENOISES)
    cached.add(VAE, Role.SURROUNDS)
    recipes.learn(Workload("plain", pixels=64, steps=4), cached)
    assert remaining(recipes, Workload("plain", pixels=64, steps=4)) == {TEXT: 2, UNET: 4, VAE: 1}


def test_a_request_without_steps_teaches_nothing(recipes: Recipes) -> None:
    recipes.learn(Workload("odd", pixels=64, steps=4), log(0))
    assert remaining(recipes, Workload("odd", pixels=64, steps=4))[UNET] == 4


def test_what_callers_choose_cannot_fill_the_memory(recipes: Recipes) -> None:
    for size in range(3000):
        recipes.learn(Workload("plain", pixels=size + 1), log(1))
        recipes.learn(Workload(("kind", size), pixels=1), log(1))
    assert max(len(recipes._known), len(recipes._by_pixels)) <= 1024
