"""How many replicas a model gets: by the seconds of work that wait for it, not by the number of requests.

Each replica tells Serve's controller for how long its device is busy with what the replica has taken, as a multiple of
its `target_backlog_seconds`. Wanted are

    the sum of what all replicas tell, rounded up,

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

BACKLOG = "backlog"  # what a replica reports: its backlog's seconds / target_backlog_seconds


def backlog_policy(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """The `policy_function` of a model's `autoscaling_config`: how many replicas, and nothing for Ray to remember.

    It takes no `policy_kwargs`: wrong ones would keep Serve from telling the state of any application.
    """
    reports = (context.raw_metrics or {}).get(BACKLOG, {}).values()
    backlogs = [[sample.value for sample in report] for report in reports if report]
    return replicas_wanted(backlogs, context.total_num_requests), {}


def replicas_wanted(backlogs: Sequence[Sequence[float]], requests: float) -> int:
    """See the module's docstring.

    `backlogs` holds for each replica what it told over the look-back period, the latest last. `requests` is how many
    wait or run, also where there is no replica.
    """
    for_the_backlog = math.ceil(sum(told[-1] for told in backlogs))
    kept_busy = math.ceil(sum(fmean(each > 0 for each in told) for told in backlogs))
    return max(for_the_backlog, kept_busy, int(requests > 0))
