"""Pipelines that are made anew for each request, out of modules that were loaded once."""

from __future__ import annotations

import functools
from typing import Any

import torch


@functools.cache
def on_device(pipeline_class: Any, device: torch.device) -> type[Any]:
    """The pipeline class, but that it knows where its modules are.

    diffusers looks through all of them for it in every call: milliseconds that those who share the engine would wait.
    """
    return type(pipeline_class.__name__, (pipeline_class,), {"_execution_device": device})
