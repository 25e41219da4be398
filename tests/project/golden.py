"""Run the five notebooks with their defaults and store them as notebooks/NAME.ipynb: `make golden`.

What differs from run to run without meaning anything (cell ids, times, paths, versions) is left out, so that two golden
runs are the same bytes, except in cells tagged `nbval-ignore-output`.
"""

import tempfile
from pathlib import Path

import nbformat

from sleepkit.execution import notebooks
from sleepkit.execution.jobs import environment
from sleepkit.execution.paths import written


def golden():
    """Run and store all five, from an empty `runs` folder."""
    with tempfile.TemporaryDirectory() as folder, environment({"SLEEPKIT_RUNS": folder}):
        for name in notebooks.NAMES:
            executed = Path(folder, f"{name}.ipynb")
            print(f"{name}: running", flush=True)
            notebooks.execute(notebooks.source(name), executed, {})
            with written(notebooks.FOLDER / f"{name}.ipynb") as temporary:
                nbformat.write(cleaned(nbformat.read(executed, as_version=4)), temporary)


def cleaned(notebook):
    """A copy with sources, tags, execution counts and outputs alone; cells have numbers in place of random ids."""
    clean = nbformat.v4.new_notebook(metadata={"kernelspec": notebooks.KERNEL})
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags")
        kept = {**cell, "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}}
        clean.cells.append(nbformat.from_dict(kept))
    return clean


if __name__ == "__main__":
    golden()
