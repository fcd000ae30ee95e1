"""For dialects that give width and height apart, and a seed of -1 for a random one: types, and names in errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from config.schema import ModelRoute
from deployments.errors import EaselError
from deployments.models.registry import FAMILIES
from deployments.types import MAX_SEED

RANDOM_SEED = -1

Side = Annotated[int, Field(ge=1, le=2**16)]  # the model's limits are checked with the order
SeedOrRandom = Annotated[int, Field(ge=RANDOM_SEED, le=MAX_SEED)]


def seed_or_none(seed: int) -> int | None:
    """The seed as an order has it, where None is random."""
    return None if seed == RANDOM_SEED else seed


@contextmanager
def own_names(**names: str) -> Iterator[None]:
    """Lets errors that are raised within name a field as the dialect does. `names`: the order's name to its own."""
    try:
        yield
    except EaselError as error:
        if error.param in names:
            own = names[error.param]
            error.message = error.message.replace(f"'{error.param}'", f"'{own}'")
            error.param = own
        raise


def side_to_blame(route: ModelRoute, size: tuple[int, int]) -> str:
    """`width` or `height`: where `size` is refused, the side that does not fit by itself; the width where both do."""
    limits, traits = route.limits, FAMILIES[route.family]
    multiple = 1 if traits.rounds_size else traits.size_multiple
    width_fits, height_fits = (limits.min_side <= side <= limits.max_side and side % multiple == 0 for side in size)
    return "height" if width_fits and not height_fits else "width"
