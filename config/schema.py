"""What an operator writes: the typed `args` and `user_config` of every application in a Serve config file.

Invariants: frozen; an unknown key is an error that names its path and the likely spelling; importing this module
imports nothing else of ours. `*Config` models are builder `args` (a change restarts the application), `*Settings`
models are `user_config` (a change applies in place).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

Family = Literal["sdxl", "sdxl-pose", "flux-schnell", "flux-fill"]
SchedulerName = Literal["default", "ddim", "dpm++", "euler", "euler_ancestral", "unipc"]
Quantization = Literal["int8_weight_only", "int8_dynamic", "fp8_dynamic"]
AttentionBackend = Literal[
    "native", "_native_cudnn", "_native_efficient", "_native_flash", "flash", "flash_hub", "_flash_3", "_flash_3_hub"
]
DetectorName = Literal["mediapipe", "dwpose", "openpose"]
Size = Annotated[str, Field(pattern="^[1-9][0-9]{0,6}x[1-9][0-9]{0,6}$")]  # WxH
MAX_PEOPLE = 32  # of one pose


def dimensions(size: Size) -> tuple[int, int]:
    """Width and height of a `Size`."""
    width, _, height = size.partition("x")
    return int(width), int(height)


def unknown(kind: str, name: object, known: Collection[str]) -> str:
    """What is said of a name that is none of the known ones: the likely spelling, or else what there is."""
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"
    return f"unknown {kind} '{name}'; {hint}"


class Strict(BaseModel):
    """Base of all configuration: frozen, and no key but the declared ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _suggest_spelling(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(unknown("key", key, cls.model_fields))
        return values


class Weights(Strict):
    """Where a model's weights come from, as diffusers' `from_pretrained` takes it."""

    source: str = Field(
        min_length=1,
        description="A hub repository (`owner/name`), a local folder of the same layout, or `small:<family>`: the "
        "few-megabyte model that Easel makes itself.",
    )
    revision: str | None = Field(
        default=None, pattern="^[0-9a-f]{40}$", description="The hub's commit; required for a repository."
    )
    variant: str | None = Field(default=None, description="File variant, as `fp16`.")

    @model_validator(mode="after")
    def _pinned(self) -> Weights:
        is_repository = self.source.count("/") == 1 and not self.source.startswith((".", "/", "~", "small:"))
        if is_repository and self.revision is None:
            raise ValueError("revision: a hub repository must be pinned to a 40-digit commit")
        return self


class Acceleration(Strict):
    """What makes a model faster or smaller. What its family or the hardware cannot honour is an error at start."""

    compile: bool = Field(
        default=False,
        description="Compile the repeated blocks of UNet, ControlNet or transformer with torch.compile, for any number "
        "of rows and any size. The first call of each kind waits for it: set warm_up_sizes.",
    )
    compile_cache: str = Field(
        default="~/.cache/easel/compiled", min_length=1, description="A folder that keeps what was compiled."
    )
    channels_last: bool = Field(
        default=False, description="Keep convolutions' weights with channels last. SDXL's families only."
    )
    fuse_qkv: bool = Field(
        default=False,
        description="One projection to query, key and value instead of three. Takes memory: the three are kept.",
    )
    attention: AttentionBackend | None = Field(
        default=None,
        description="diffusers' attention backend; default: as torch chooses. FLUX's families only. Those that end in "
        "_hub fetch a kernel from the hub.",
    )
    quantization: Quantization | None = Field(
        default=None, description="Weights, or weights and activations (dynamic), of the same blocks in 8 bits."
    )
    text_encoder_quantization: Literal["int8_weight_only"] | None = Field(
        default=None, description="Weights of the text encoders in 8 bits."
    )
    vae_tiling: bool = Field(
        default=False,
        description="Decode and encode pictures that are larger than the VAE was made for (1024) in overlapping tiles: "
        "less memory, and slightly other pictures.",
    )
    group_offload: bool = Field(
        default=False,
        description="Keep weights in the host's memory and load each layer when it is needed, for models that do not "
        "fit the GPU.",
    )
    lossy_guidance_cutoff: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The share of a request's steps after which guidance is switched off, so that the rest costs half. "
        "Other pictures. SDXL's families only.",
    )
    lossy_step_cache: float | None = Field(
        default=None,
        gt=0,
        description="At a step whose first block adds what it did before, but for this share of it, the other blocks "
        "are not run: what they added before is added again. Other pictures; of use at many steps. FLUX's families "
        "only.",
    )

    @model_validator(mode="after")
    def _options_that_go_together(self) -> Acceleration:
        if self.compile and self.group_offload:
            raise ValueError("compile: does not go with group_offload, which moves weights amid the compiled blocks")
        if self.lossy_step_cache is not None and self.group_offload:
            raise ValueError("lossy_step_cache: does not go with group_offload, which loads all blocks in turn")
        return self


class ModelConfig(Strict):
    """`args` of `deployments.diffusion:build`: one model, loaded once per replica."""

    family: Family
    weights: Weights
    vae: Weights | None = Field(
        default=None, description="A VAE to use instead of the model's own, as SDXL's fp16-safe one."
    )
    controlnet: Weights | None = Field(
        default=None, description="The pose ControlNet; required by the family `sdxl-pose`, and taken by no other."
    )
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = Field(
        default="auto",
        pattern="^(auto|cpu|cuda(:[0-9]+)?|mps)$",
        description="auto = cuda where there is one, else cpu.",
    )
    torch_threads: PositiveInt | None = Field(default=None, description="CPU threads; default: as torch decides.")
    warm_up_sizes: tuple[Size, ...] = Field(
        default=(), description="Sizes (`WxH`) to run before the replica is ready, to measure their cost and knee."
    )
    acceleration: Acceleration = Acceleration()

    @model_validator(mode="after")
    def _acceleration_that_the_family_honours(self) -> ModelConfig:
        is_flux = self.family.startswith("flux")
        for key, needs_flux, why in (
            ("channels_last", False, "its transformer has no convolutions"),
            ("attention", True, "its UNet knows no attention backends"),
            ("lossy_guidance_cutoff", False, "its guidance costs no rows"),
            ("lossy_step_cache", True, "its UNet is not a row of blocks"),
        ):
            if getattr(self.acceleration, key) and needs_flux != is_flux:
                raise ValueError(f"acceleration.{key}: not for the family '{self.family}': {why}")
        return self

    @model_validator(mode="after")
    def _controlnet_where_it_is_used(self) -> ModelConfig:
        if (self.controlnet is not None) != (self.family == "sdxl-pose"):
            raise ValueError("controlnet: the family 'sdxl-pose' needs one, and no other family takes one")
        return self


class PoseEstimatorConfig(Strict):
    """`args` of `deployments.pose_estimator:build`: what finds the people that a picture is guided by."""

    detector: DetectorName = Field(
        default="mediapipe",
        description="mediapipe: mostly one person, no hands; dwpose: many, with hands; openpose: the same, slower, and "
        "not for commercial use.",
    )
    weights: Weights | None = Field(
        default=None, description="Of dwpose and openpose, which need some; mediapipe's come in a Python package."
    )
    max_people: int = Field(default=8, ge=1, le=MAX_PEOPLE, description="The most people drawn of one picture.")
    limbs: Literal["canonical", "wide"] = Field(
        default="canonical",
        description="How limbs are drawn, as the ControlNet was trained: canonical: as OpenPose's own; wide: wider in "
        "larger pictures, as xinsir/controlnet-openpose-sdxl-1.0 wants them.",
    )
    threads: PositiveInt = Field(default=2, description="Pictures worked on at once, and CPU threads of the networks.")
    watchdog_seconds: PositiveFloat = Field(
        default=60.0, description="A picture that takes longer makes the replica unhealthy; it is then replaced."
    )

    @model_validator(mode="after")
    def _weights_where_they_are_used(self) -> PoseEstimatorConfig:
        if (self.weights is None) != (self.detector == "mediapipe"):
            raise ValueError("weights: the detectors 'dwpose' and 'openpose' need some, and 'mediapipe' takes none")
        return self


class Preset(Strict):
    """What a `quality` stands for."""

    steps: int = Field(ge=1, le=100)
    guidance_scale: float = Field(ge=0, le=30)
    scheduler: SchedulerName = "default"


class Presets(Strict):
    """`low`, `medium` and `high` are OpenAI's words; `auto` is the default one, `smooth`."""

    smooth: Preset
    standard: Preset
    hd: Preset
    low: Preset
    medium: Preset
    high: Preset


class Limits(Strict):
    """What a model takes. Checked at the ingress, so that a bad request costs no GPU time."""

    min_side: PositiveInt = 64
    max_side: PositiveInt = 2048
    max_pixels: PositiveInt = 2048 * 2048
    max_aspect: PositiveFloat = Field(default=4.0, description="Longer side divided by shorter.")
    max_steps: int = Field(default=100, ge=1, le=100)
    default_size: Size = Field(default="1024x1024", description="What `size: auto` means.")


class Batching(Strict):
    """Caps on what runs together. `None` lets the engine's own measurements decide."""

    max_rows: PositiveInt | None = Field(
        default=None, description="Rows of one forward; guidance makes a request two rows."
    )
    max_running: int = Field(
        default=16, ge=1, le=100, description="Requests of one size that denoise side by side; the rest queues."
    )
    max_queued: int = Field(default=64, ge=0, le=400, description="Requests that wait beyond those; more are refused.")


class ModelSettings(Strict):
    """`user_config` of a model's deployment."""

    presets: Presets
    batching: Batching = Batching()
    watchdog_seconds: PositiveFloat = Field(
        default=120.0, description="A module call that runs longer makes the replica unhealthy; it is then replaced."
    )
    target_backlog_seconds: PositiveFloat = Field(
        default=20.0, description="The work a replica may have, where autoscaling goes by it, before another starts."
    )


class ModelRoute(Strict):
    """One model as the ingress knows it."""

    name: str = Field(min_length=1, description="The canonical name clients send as `model`.")
    aliases: tuple[str, ...] = ()
    application: str = Field(min_length=1, description="The Serve application that runs it.")
    family: Family
    limits: Limits = Limits()


class PoseRoute(Strict):
    """Where requests guided by a pose go."""

    model: str = Field(description="The model, of family `sdxl-pose`, that pose edits of an SDXL model run on.")
    application: str = Field(default="pose", min_length=1, description="The Serve application that finds poses.")


class ApiKey(Strict):
    """One caller. The key itself is kept nowhere: it is known by what it hashes to."""

    name: str = Field(min_length=1, max_length=64, description="By which its requests are told from those of others.")
    sha256: str = Field(
        repr=False, pattern="^[0-9a-f]{64}$", description="The key's SHA-256, as `printf %s KEY | sha256sum` prints it."
    )
    weight: float = Field(
        default=1.0, ge=0.01, le=100, description="The share of a busy model, against that of other keys."
    )
    may_prioritize: bool = Field(default=False, description="Whether its holder is trusted with a high priority.")
    models: tuple[str, ...] | None = Field(
        default=None, description="Names or aliases of the models that it is for; default: all."
    )
    max_concurrent: PositiveInt | None = Field(
        default=None, description="Its pictures that wait or are made at one time; default: any number."
    )
    gpu_seconds_per_hour: PositiveFloat | None = Field(
        default=None, description="Seconds of the models' devices that its pictures may take; default: any number."
    )


class IngressSettings(Strict):
    """`user_config` of the ingress."""

    # What is put in the place of a key's hash by mistake may be the key, and what refuses it ends in a log.
    model_config = ConfigDict(hide_input_in_errors=True)

    models: tuple[ModelRoute, ...]
    default_model: str = Field(description="One of the models, so that there is at least one.")
    pose: PoseRoute | None = Field(default=None, description="Without it there are no pose edits.")
    keys: tuple[ApiKey, ...] = Field(
        default=(), description="Who may use the service. Without any it is open, and all callers are one."
    )
    keys_file: str | None = Field(
        default=None,
        pattern="^[/~]",
        description="More keys: a YAML list of the same entries, read again whenever it changes. With a file the "
        "service always needs a key, even where there is none in it.",
    )
    private_pictures: bool = Field(
        default=False, description="Whether a picture's link answers only with the key whose picture it is."
    )
    max_image_bytes: PositiveInt = Field(default=4 * 2**20, description="Larger uploaded pictures and masks are 413.")
    public_url: HttpUrl | None = Field(
        default=None, description="Base of picture links; default: the origin that the request came to."
    )
    deadline_seconds: PositiveFloat = Field(default=240.0, description="A request not answered by then is 504.")

    @model_validator(mode="after")
    def _names_are_unique_and_known(self) -> IngressSettings:
        seen: set[str] = set()
        for route in self.models:
            for name in (route.name, *route.aliases):
                if name.lower() in seen:
                    raise ValueError(f"models: '{name}' names two models (names are matched without case)")
                seen.add(name.lower())
        if self.default_model.lower() not in seen:
            raise ValueError(f"default_model: '{self.default_model}' is none of the models' names or aliases")
        if self.pose and self.pose.model not in [route.name for route in self.models if route.family == "sdxl-pose"]:
            raise ValueError(f"pose.model: '{self.pose.model}' is the name of no model of family sdxl-pose")
        if not self.pose and any(route.family == "sdxl-pose" for route in self.models):
            raise ValueError("pose: a model of family sdxl-pose needs it, to have poses found")
        return self

    @model_validator(mode="after")
    def _keys_are_told_apart(self) -> IngressSettings:
        if mistake := self.mistake_of_keys({f"keys[{index}]": key for index, key in enumerate(self.keys)}):
            raise ValueError(mistake)
        return self

    @model_validator(mode="after")
    def _private_pictures_have_owners(self) -> IngressSettings:
        if self.private_pictures and not self.needs_key:
            raise ValueError("private_pictures: needs keys or a keys_file, by which to know whose a picture is")
        return self

    @property
    def needs_key(self) -> bool:
        """Whether whoever asks for a picture must send one."""
        return bool(self.keys) or self.keys_file is not None

    def mistake_of_keys(self, keys: Mapping[str, ApiKey]) -> str | None:
        """What is wrong with all keys together, given by where they stand; the answer holds nothing of them."""
        models = {name.lower() for route in self.models for name in (route.name, *route.aliases)}
        names: dict[str, str] = {}
        hashes: dict[str, str] = {}
        for place, key in keys.items():
            if key.name in names:
                return f"{place}.name: {names[key.name]} has the same"
            if key.sha256 in hashes:
                return f"{place}.sha256: {hashes[key.sha256]} has the same"
            for index, name in enumerate(key.models or ()):
                if name.lower() not in models:
                    return f"{place}.models[{index}]: is none of the models' names or aliases"
            names[key.name] = hashes[key.sha256] = place
        return None


class ImageStoreConfig(Strict):
    """Where pictures answered by URL are kept."""

    url: str = Field(
        default="~/.cache/easel/images", min_length=1, description="Any fsspec URL: a folder, `s3://bucket/prefix`, …"
    )
    lifetime_seconds: PositiveInt = Field(default=3600, description="How long a link answers.")
    sweep_seconds: PositiveFloat = Field(default=300.0, description="How often expired pictures are deleted.")
    timeout_seconds: PositiveFloat = Field(
        default=5.0, description="How long keeping or reading a picture may take before the store counts as failing."
    )
    least_free_bytes: NonNegativeInt = Field(
        default=256 * 2**20, description="On the disk of a local folder: pictures that would leave less are not kept."
    )


class IngressConfig(Strict):
    """`args` of `serve_app.app:build`."""

    images: ImageStoreConfig = ImageStoreConfig()
    max_body_bytes: PositiveInt = Field(default=25 * 2**20, description="Larger request bodies are 413.")
    body_timeout_seconds: PositiveFloat = Field(
        default=30.0, description="How long a request's body may take, and a second more for each 64 KiB of it."
    )
