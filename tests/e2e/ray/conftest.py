"""A real Ray cluster of two nodes on this machine. Ray's own warnings are not errors here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
# Ray reads them when its processes start. Actors import `support`, too.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
os.environ["PYTHONPATH"] = str(TESTS)
# A node that is lost is noticed in three seconds, not in thirty.
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 3,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for test in items:
        if Path(__file__).parent in test.path.parents:
            test.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head with room for an engine; `second_node` adds another."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "resources": {"engine": 1}, "include_dashboard": False}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**head, "_system_config": HEALTH_CHECKS, "object_store_memory": 2 * 10**8},
    )
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # What it does at each step would bury what a failed test has to say.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def second_node(cluster: Any) -> Iterator[Any]:
    """A node that a test may remove."""
    node = cluster.add_node(num_cpus=2, resources={"engine": 1}, object_store_memory=2 * 10**8)
    cluster.wait_for_nodes()
    yield node
    if node in cluster.list_all_nodes():
        cluster.remove_node(node)
