"""How many replicas the policy asks for, and that Ray can carry it into its controller."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve.config import AutoscalingContext, AutoscalingPolicy

from deployments.autoscaling import BACKLOG, backlog_policy, replicas_wanted

IDLE = [0.0] * 5
SHORTLY = [0.0, 0.0, 0.0, 0.0, 0.4]  # a fifth of the time
OFTEN = [0.3, 0.0, 0.2, 0.3, 0.0]  # three fifths
ALWAYS = [0.1, 0.2, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("backlogs", "requests", "replicas"),
    [
        pytest.param([], 0, 0, id="nothing to do and nobody there"),
        pytest.param([], 0.03, 1, id="a request waits where there is no replica"),
        pytest.param([], 40, 1, id="what waiting requests cost is not known"),
        pytest.param([IDLE], 0, 0, id="nothing to do"),
        pytest.param([IDLE], 1, 1, id="a request runs whose cost is not known yet"),
        pytest.param([ALWAYS], 1, 1, id="a long request stays under the target"),
        pytest.param([[0.0, 1.0]], 2, 1, id="exactly the target"),
        pytest.param([[0.0, 1.01]], 2, 2, id="more than the target"),
        pytest.param([[6.0, 4.5]], 9, 5, id="what is left of a burst"),
        pytest.param([[4.5, 0.5]], 1, 1, id="a burst that is over"),
        pytest.param([[1.8], [0.3]], 4, 3, id="the backlogs of all"),
        pytest.param([SHORTLY, SHORTLY], 2, 1, id="one can do it"),
        pytest.param([OFTEN, OFTEN], 2, 2, id="one could not do what two did"),
        pytest.param([OFTEN, SHORTLY], 2, 1, id="one has just the time for what two did"),
        pytest.param([ALWAYS, IDLE, IDLE], 1, 1, id="one request after the other"),
        pytest.param([ALWAYS, ALWAYS, IDLE], 2, 2, id="only the idle one leaves"),
    ],
)
def test_replicas_wanted(backlogs: list[list[float]], requests: float, replicas: int) -> None:
    assert replicas_wanted(backlogs, requests) == replicas


@given(st.lists(st.lists(st.floats(0, 50), min_size=1, max_size=6), max_size=8), st.floats(0, 100))
def test_only_a_backlog_asks_for_more_replicas_than_there_are(backlogs: list[list[float]], requests: float) -> None:
    wanted = replicas_wanted(backlogs, requests)
    latest = sum(told[-1] for told in backlogs)
    assert wanted >= latest
    assert wanted <= max(len(backlogs), 1) or wanted - 1 < latest


def context(raw_metrics: dict[str, dict[str, list[Any]]] | None, requests: float) -> AutoscalingContext:
    """As Ray makes it, as far as the policy looks at it."""
    unread = dict.fromkeys(AutoscalingContext.__init__.__annotations__)
    return AutoscalingContext(**(unread | {"raw_metrics": raw_metrics, "total_num_requests": requests}))


def samples(*seconds: float) -> list[Any]:
    return [SimpleNamespace(timestamp=float(number), value=value) for number, value in enumerate(seconds)]


def test_the_policy_reads_what_replicas_report() -> None:
    reports = {"a": samples(9, 2.5), "b": samples(0, 0.9), "started just now": []}
    others = {"running_requests": {"a": samples(1000)}}
    assert backlog_policy(context({BACKLOG: reports, **others}, 3)) == (4, {})
    assert backlog_policy(context({}, 3)) == (1, {})
    assert backlog_policy(context(None, 0)) == (0, {})


def test_ray_carries_it_to_where_our_packages_are_not(tmp_path: Path) -> None:
    carried = AutoscalingPolicy(policy_function="deployments.autoscaling:backlog_policy")
    (tmp_path / "policy").write_bytes(carried.get_serialized_policy_def() or b"")
    there = (
        "import pickle, types\n"
        "policy = pickle.load(open('policy', 'rb'))\n"
        f"reports = {{{BACKLOG!r}: {{'a': [types.SimpleNamespace(value=2.5)]}}}}\n"
        "print(policy(types.SimpleNamespace(raw_metrics=reports, total_num_requests=1.0)))\n"
        "import deployments\n"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", there], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.strip() == "(3, {})", ran.stderr
    assert "No module named 'deployments'" in ran.stderr
