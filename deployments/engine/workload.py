"""What is known of a request before it runs, and the calls that requests of its kind were seen to make.

Requests of one kind (of so many pixels, with or without guidance, a picture, a pose) call the same modules at the same
shapes, and differ in how often: once for each denoising step. So the first of a kind that finishes is the recipe of all
that follow, and the cost of a request is known before it runs. A kind that was never seen borrows the recipe of another
of its size, or of the nearest size in proportion to its pixels. Standard library only.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

_MOST_KINDS = 1024  # the one not seen for longest is forgotten: callers choose sizes, and so how many kinds there are


class Role(enum.Enum):
    """What a module is to a request."""

    SURROUNDS = enum.auto()  # the steps, before and after them: text encoders, VAE
    GUIDES = enum.auto()  # a step, before its denoiser: ControlNet
    DENOISES = enum.auto()  # a step: UNet, transformer


@dataclass(frozen=True, slots=True)
class Workload:
    """A request as the scheduler knows it in advance."""

    kind: Hashable = None  # equal for requests that make the same calls, but for their size
    pixels: int = 1
    steps: int = 1  # denoising steps that will run
    caller: str = ""  # between whom the device is shared fairly
    weight: float = 1.0  # of the caller's share
    priority: int = 0  # greater goes first
    order: str = ""  # requests of one order are taken or refused as one

    def is_with(self, other: Workload) -> bool:
        """Whether both are of one order."""
        return self.order != "" and self.order == other.order


@dataclass(frozen=True, slots=True)
class CallKind:
    """Module calls that cost the same."""

    shape: Hashable
    rows: int


@dataclass
class CallLog:
    """The calls that one request has made so far."""

    before: Counter[CallKind] = field(default_factory=Counter)  # the first denoising call
    in_steps: Counter[CallKind] = field(default_factory=Counter)
    after: Counter[CallKind] = field(default_factory=Counter)  # anything around the steps since
    denoised: int = 0  # denoising calls

    def add(self, call: CallKind, role: Role) -> None:
        """It made `call`."""
        if role is not Role.SURROUNDS:
            self.in_steps[call] += 1
            self.denoised += role is Role.DENOISES
        elif self.denoised:
            self.after[call] += 1
        else:
            self.before[call] += 1


@dataclass(frozen=True, slots=True)
class _Recipe:
    pixels: int
    before: tuple[tuple[CallKind, float], ...]
    in_step: tuple[tuple[CallKind, float], ...]  # calls for each denoising call
    after: tuple[tuple[CallKind, float], ...]
    denoising_calls: float  # for each step that was asked for: schedulers of second order make two


@dataclass(frozen=True, slots=True)
class Remaining:
    """Calls that a request has still to make."""

    call: CallKind
    count: float
    scale: float  # of what such a call costs: other than 1 for a recipe of another size


class Recipes:
    """Learns from finished requests what those of their kind will call. Written by one thread, read by any."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Hashable, int], _Recipe] = OrderedDict()  # by kind and pixels; seen last, last
        self._by_pixels: dict[int, _Recipe] = {}  # the last of any kind

    def learn(self, workload: Workload, log: CallLog) -> None:
        """A request of `workload` finished, and made the calls of `log`."""
        if not log.denoised:
            return
        key = (workload.kind, workload.pixels)
        known = self._known.get(key)
        before: tuple[tuple[CallKind, float], ...] = tuple(log.before.items())
        if known is not None and sum(log.before.values()) < sum(count for _, count in known.before):
            before = known.before  # its text was known: that of the next one may not be
        recipe = _Recipe(
            workload.pixels,
            before=before,
            in_step=tuple((call, count / log.denoised) for call, count in log.in_steps.items()),
            after=tuple(log.after.items()),
            denoising_calls=log.denoised / workload.steps,
        )
        self._known[key] = self._by_pixels[workload.pixels] = recipe
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KINDS:
            (_, pixels), forgotten = self._known.popitem(last=False)
            if self._by_pixels.get(pixels) is forgotten:
                del self._by_pixels[pixels]

    def remaining(self, workload: Workload, log: CallLog) -> Iterator[Remaining]:
        """What a request has still to call, having called what `log` says; nothing where no request ever finished."""
        recipe = self._known.get((workload.kind, workload.pixels)) or self._nearest(workload)
        if recipe is None:
            return
        scale = workload.pixels / recipe.pixels
        denoising_left = max(0.0, workload.steps * recipe.denoising_calls - log.denoised)
        if not log.denoised:
            for call, count in recipe.before:
                yield Remaining(call, count, scale)
        if denoising_left:
            for call, count in recipe.in_step:
                yield Remaining(call, count * denoising_left, scale)
        if not log.after:
            for call, count in recipe.after:
                yield Remaining(call, count, scale)

    def _nearest(self, workload: Workload) -> _Recipe | None:
        """Of the same size and another kind; else of the nearest size, if it can be of the same kind."""
        if workload.pixels in self._by_pixels:
            return self._by_pixels[workload.pixels]
        known = list(self._known.items())
        alike = [recipe for (kind, _), recipe in known if kind == workload.kind] or [recipe for _, recipe in known]
        return min(alike, key=lambda recipe: abs(recipe.pixels - workload.pixels), default=None)
