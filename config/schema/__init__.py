"""What an operator writes: the typed `args` and `user_config` of every application in a Serve config file.

Invariants: frozen; an unknown key is an error that names its path and the likely spelling; importing this package
imports nothing else of ours. `*Config` models are builder `args` (a change restarts the application), `*Settings`
models are `user_config` (a change applies in place).
"""

from config.schema.ingress import (
    ApiKey,
    ImageStoreConfig,
    IngressConfig,
    IngressSettings,
    Limits,
    ModelRoute,
    PoseRoute,
)
from config.schema.models import (
    Acceleration,
    AttentionBackend,
    Batching,
    Family,
    ModelConfig,
    ModelSettings,
    Preset,
    Presets,
    Quantization,
    SchedulerName,
    Weights,
)
from config.schema.poses import MAX_PEOPLE, DetectorName, PoseEstimatorConfig
from config.schema.strict import Size, Strict, dimensions, unknown

__all__ = [
    "MAX_PEOPLE",
    "Acceleration",
    "ApiKey",
    "AttentionBackend",
    "Batching",
    "DetectorName",
    "Family",
    "ImageStoreConfig",
    "IngressConfig",
    "IngressSettings",
    "Limits",
    "ModelConfig",
    "ModelRoute",
    "ModelSettings",
    "PoseEstimatorConfig",
    "PoseRoute",
    "Preset",
    "Presets",
    "Quantization",
    "SchedulerName",
    "Size",
    "Strict",
    "Weights",
    "dimensions",
    "unknown",
]
