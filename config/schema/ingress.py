"""What an operator writes of the ingress: its `args`, and the `user_config`, keys included, that applies in place."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field, HttpUrl, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from config.schema.models import Family
from config.schema.strict import Size, Strict


class Limits(Strict):
    """What a model takes. Checked at the ingress, so that a bad request costs no GPU time."""

    min_side: PositiveInt = 64
    max_side: PositiveInt = 2048
    max_pixels: PositiveInt = 2048 * 2048
    max_aspect: PositiveFloat = Field(default=4.0, description="Longer side divided by shorter.")
    max_steps: int = Field(default=100, ge=1, le=100)
    default_size: Size = Field(default="1024x1024", description="What `size: auto` means.")


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
