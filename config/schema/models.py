"""What an operator writes of a model's application: its `args`, and the `user_config` that applies in place."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from config.schema.strict import Size, Strict

Family = Literal["sdxl", "sdxl-pose", "flux-schnell", "flux-fill"]
SchedulerName = Literal["default", "ddim", "dpm++", "euler", "euler_ancestral", "unipc"]
Quantization = Literal["int8_weight_only", "int8_dynamic", "fp8_dynamic"]
AttentionBackend = Literal[
    "native", "_native_cudnn", "_native_efficient", "_native_flash", "flash", "flash_hub", "_flash_3", "_flash_3_hub"
]


class Weights(Strict):
    """Where a model's weights come from, as diffusers' `from_pretrained` takes it."""

    source: str = Field(
        min_length=1,
        description="A hub repository (`owner/name`), a local folder of the same layout, or `small:<family>`: the "
        "few-megabyte model that comes with Easel.",
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
