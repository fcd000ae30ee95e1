"""The one internal vocabulary: what a request, its progress and its result are, whatever dialect it came in.

Invariants: frozen, no tensors, and nothing a person wrote or drew (prompt, picture bytes) shows in a repr, so that it
never reaches a log. The seed is always set: it is drawn at the edge, so that a retry makes the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OutputFormat = Literal["png", "jpeg", "webp"]
Point = tuple[float, float]  # x and y as fractions of a picture's width and height, 0 … 1
MaskReading = Literal["alpha", "white"]  # "alpha": transparent is repainted; white where it has no alpha
Quality = Literal["smooth", "standard", "hd", "low", "medium", "high", "auto"]

MAX_SEED = 2**32 - 1  # of those that callers may ask for and are told
MAX_PIXELS = 4096 * 4096  # of an uploaded picture


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseGuidance:
    """The skeleton that the people of a picture follow, and how closely."""

    skeleton: bytes = field(repr=False)  # PNG, as large as the picture
    strength: float = 1.0  # 0 … 2
    end: float = 1.0  # 0 … 1, the share of the denoising steps that it guides


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Until when a request matters, and how it stands against others."""

    deadline: float  # unix seconds; no work is done for the request after it
    caller: str = ""  # whose key it came with; all are one where no keys are configured
    weight: float = 1.0  # of the caller's share of a busy model
    priority: int = 0  # greater goes first
    order: str = ""  # the pictures of one order have the same, and no others


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One picture to make. `None` for steps and guidance_scale means: as the model's preset for `quality` says."""

    request_id: str
    model: str  # the canonical name, never an alias
    prompt: str = field(repr=False)
    negative_prompt: str = field(default="", repr=False)
    width: int  # pixels
    height: int  # pixels
    seed: int  # 0 … 2**63 - 1
    quality: Quality = "smooth"
    steps: int | None = None  # denoising steps, 1 … 100
    guidance_scale: float | None = None  # 0 … 30; at most 1 switches guidance off (SDXL)
    image: bytes | None = field(default=None, repr=False)  # PNG, JPEG or WebP; present: image-to-image or inpainting
    mask: bytes | None = field(default=None, repr=False)  # as large as the image
    mask_reads: MaskReading = "alpha"  # what of the mask is repainted
    strength: float | None = None  # 0 < strength <= 1, only with an image
    pose: PoseGuidance | None = None  # only for a pose model
    partial_images: int = 0  # 0 … 3 previews, spread over the steps; only when streaming
    output_format: OutputFormat = "png"
    output_compression: int = 100  # 0 … 100, the quality of jpeg and webp
    standing: Standing

    @property
    def has_pictures(self) -> bool:
        """Whether there are any to decode."""
        return any(picture is not None for picture in (self.image, self.mask, self.pose))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`step` of `steps` denoising steps are done."""

    step: int
    steps: int
    is_waiting: bool = False  # nothing was computed for it yet
    waiting_ahead: int = 0  # other pictures that wait too and go first, as things stand
    seconds_left: float | None = None  # that the picture is expected to take, as things stand
    device_seconds: float = 0.0  # as in ImageResult, so far
    preview: bytes | None = field(default=None, repr=False)  # the picture as it forms, where one was asked for here


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """The encoded picture, and what was used to make it."""

    image: bytes = field(repr=False)
    output_format: OutputFormat
    width: int
    height: int
    seed: int
    steps: int
    guidance_scale: float
    queue_seconds: float  # from arrival at the replica to the first module call that ran for it
    inference_seconds: float  # from there to the last pixel
    device_seconds: float  # that forwards took for it: of one for several pictures, the share of its rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person's joints; `None` where one is not in the picture. Left and right are the person's own."""

    body: tuple[Point | None, ...]  # 18, in COCO-18 order: deployments.pose.skeleton.JOINTS
    left_hand: tuple[Point | None, ...] = ()  # 21 from wrist to little finger tip, or none
    right_hand: tuple[Point | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseSource:
    """What a pose is taken from: one of a photo, a skeleton drawn elsewhere, and joints."""

    photo: bytes | None = field(default=None, repr=False)  # PNG, JPEG or WebP; people are looked for in it
    drawing: bytes | None = field(default=None, repr=False)  # the same formats; a skeleton on black
    people: tuple[Person, ...] = ()
    canvas: tuple[int, int] | None = None  # width and height that `people` are fractions of; None: the output's


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A pose as the ControlNet reads it."""

    picture: bytes = field(repr=False)  # PNG, RGB on black
    width: int  # pixels, exactly as asked for
    height: int
    people: tuple[Person, ...] = ()  # in fractions of `picture`; none where only a drawing was given
