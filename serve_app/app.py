"""The composition root: the Serve application that clients reach.

HTTP -> Ingress (one or more replicas) -> Service -> the model applications, by name
                                                  -> the image store, by URL
                                                  -> Quotas, the one place where permits are counted
"""

from __future__ import annotations

import functools
from typing import Any

from ray import serve
from ray.serve import Application

from config.schema import IngressConfig
from deployments.quotas import Quotas
from serve_app.ingress import Ingress
from serve_app.service import Service


def build(args: dict[str, Any]) -> Application:
    """The ingress application; `args` is an IngressConfig, as the Serve config file has it."""
    deployment = serve.deployment(
        Ingress,
        name="Ingress",
        max_ongoing_requests=512,  # they wait here for a model; the default of 5 would serialize them
        graceful_shutdown_timeout_s=300,  # longer than the longest request
        max_surge_percent=100,  # an update that fails must not take the service away
    )
    quotas = serve.deployment(
        Quotas,
        name="Quotas",
        max_ongoing_requests=1024,  # none of them waits for anything
        ray_actor_options={"num_cpus": 0.05},
    )
    return deployment.bind(functools.partial(Service, IngressConfig.model_validate(args)), quotas.bind())
