"""Runs of the notebooks under examples/notebooks, and the outputs that they are committed with.

`python tests/support/notebook_runs.py` runs all of them and writes their outputs into them.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import psutil
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
# Of one cell, on a loaded machine; each takes a few seconds.
SECONDS = 300

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def executed(notebook: Path, folder: Path) -> Any:
    """The notebook with the outputs of a new kernel of this Python, which has ended.

    Args:
        notebook: its file, which is not changed.
        folder: takes what Jupyter writes, instead of the user's home. Its path must be short,
            because the kernel's sockets are in it.
    """
    folders = ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
    environment = dict.fromkeys(folders, str(folder)) | {
        # In a notebook tqdm asks for ipywidgets, also where no bar is drawn.
        "PYTHONWARNINGS": "ignore:IProgress not found",
        "OMP_NUM_THREADS": "1",
    }
    book = nbformat.read(notebook, as_version=4)
    # Sockets in the folder: nothing listens on a port.
    sockets = {"transport": "ipc", "connection_file": str(folder / "kernel.json")}
    client = NotebookClient(
        book,
        timeout=SECONDS,
        startup_timeout=SECONDS,
        resources={"metadata": {"path": str(notebook.parent)}},
        config=Config({"KernelManager": sockets}),
    )
    with mock.patch.dict(os.environ, environment):
        os.environ.pop("PYTHONPATH", None)
        client.execute()
    return book


def processes(folder: Path) -> list[str]:
    """The commands of the processes that were started with something in `folder`."""
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    return [" ".join(command) for command in commands if str(folder) in " ".join(command or ())]


def outputs(book: Any) -> list[str]:
    """What each code cell printed; anything else that it put out is an error.

    Raises:
        ValueError: a cell shows something other than text on standard output.
    """
    printed = []
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        others = [output for output in cell.outputs if output.get("name") != "stdout"]
        if others:
            raise ValueError(f"beside its prints a cell has {others}")
        printed.append("".join(output.text for output in cell.outputs))
    return printed


def words(text: str) -> list[str]:
    """The text without its numbers, and without the spaces that align them."""
    return _NUMBER.sub("#", text).split()


def numbers(text: str) -> list[float]:
    """The text's numbers, in their order."""
    return [float(number) for number in _NUMBER.findall(text)]


def rewrite(notebook: Path) -> None:
    """Run a notebook and write its outputs into it, without anything of this machine's."""
    with tempfile.TemporaryDirectory() as folder:
        book = executed(notebook, Path(folder))
    texts = iter(outputs(book))
    book.metadata.language_info = {"name": "python"}
    for cell in book.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            text = next(texts)
            cell.execution_count = None
            stream = nbformat.v4.new_output("stream", name="stdout", text=text)
            cell.outputs = [stream] if text else []
    nbformat.write(book, notebook)


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        rewrite(path)
        sys.stdout.write(f"{path.name}\n")
