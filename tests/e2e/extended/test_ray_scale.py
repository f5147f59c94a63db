"""100,000 pairs on Ray: nothing lost, flat memory, and hardly any time but the engine's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
SECONDS = 900


def test_100000_pairs() -> None:
    environment = os.environ | {
        "PYTHONPATH": str(TESTS),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    script = TESTS / "support" / "ray_scale.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    values = json.loads(done.stdout.splitlines()[-1])
    assert (values["rows"], values["distinct"], values["wrong"]) == (1000, 1000, 0)
    actor, driver = values["actor_mb"], values["driver_mb"]
    third = len(actor) // 3
    print(
        f"actor / engine alone: {values['throughput']:.2f} of its throughput; its memory in the "
        f"last third / in the second: {max(actor[-third:]) / max(actor[third:-third]):.2f}; "
        f"driver: {max(driver):.0f} MB"
    )
    assert third > 5
    assert max(actor[-third:]) < 1.1 * max(actor[third:-third])
    assert max(driver) < 500
    assert values["throughput"] > 0.8
