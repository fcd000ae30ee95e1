"""How many replicas a model gets: by the seconds of work that wait for it, not by the number of requests.

Each replica tells Serve's controller for how long its device is busy with what the replica has taken. Wanted are

    seconds of all replicas / target_backlog_seconds, rounded up,

but no fewer than were kept busy over the look-back period, so that none leaves whose work the others have no time for,
and one while there is any request, whose cost may not be known yet. Ray does the rest: it starts the first replica as
soon as a request waits where there is none, and applies bounds and delays, also the one before the last replica leaves.

Standard library only: Ray imports this module wherever a config file is deployed from, and pickles the policy by value
into the controller, which outlives deployments and has our packages as they were before, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

BACKLOG_SECONDS = "backlog_seconds"  # what a replica reports: how long its device is busy with what it has taken


class BacklogPolicy:
    """The `policy_function` of a model's `autoscaling_config`; its arguments are the `policy_kwargs`."""

    def __init__(self, *, target_backlog_seconds: float) -> None:
        is_number = isinstance(target_backlog_seconds, (int, float)) and not isinstance(target_backlog_seconds, bool)
        if not is_number or not 0 < target_backlog_seconds < math.inf:
            raise ValueError(f"target_backlog_seconds: must be a number greater than 0, not {target_backlog_seconds!r}")
        self._target_backlog_seconds = target_backlog_seconds

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and what Ray should remember for the next call: nothing."""
        reports = (context.raw_metrics or {}).get(BACKLOG_SECONDS, {}).values()
        wanted = replicas_wanted(
            [[sample.value for sample in report] for report in reports if report],
            context.total_num_requests,
            self._target_backlog_seconds,
        )
        return wanted, {}


def replicas_wanted(backlogs: Sequence[Sequence[float]], requests: float, target_backlog_seconds: float) -> int:
    """See the module's docstring.

    `backlogs` holds for each replica its seconds over the look-back period, the latest last. `requests` is how many
    wait or run, also where there is no replica.
    """
    for_the_backlog = math.ceil(sum(seconds[-1] for seconds in backlogs) / target_backlog_seconds)
    kept_busy = math.ceil(sum(fmean(each > 0 for each in seconds) for seconds in backlogs))
    return max(for_the_backlog, kept_busy, int(requests > 0))
