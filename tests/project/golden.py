"""Run the five notebooks with their defaults and store them as notebooks/NAME.ipynb: `make golden`.

What differs from run to run without meaning anything (cell ids, times, paths, versions) is left out, so that two golden
runs are the same bytes, except in cells tagged `nbval-ignore-output`.
"""

import base64
import io
import shutil
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

from sleepkit.execution import notebooks, paths
from sleepkit.execution.jobs import environment
from sleepkit.execution.paths import written

LARGEST = 460e3  # bytes of a notebook: its pictures are shown with as many dots and colours as leave it below
LOOKS = ((1.0, 256), (1.0, 64), (1.0, 16), (0.75, 16), (0.7, 16), (0.65, 16), (0.6, 16), (0.5, 16))  # share, colours


def golden():
    """Run and store all five, from an empty `runs` folder."""
    with tempfile.TemporaryDirectory() as folder, environment({"SLEEPKIT_RUNS": folder, "SLEEPKIT_DEVICE": "cpu"}):
        for left in (paths.results("demo"), paths.figures("demo")):  # of another run, which notebooks would show
            shutil.rmtree(left, ignore_errors=True)
        for name in notebooks.NAMES:
            executed = Path(folder, f"{name}.ipynb")
            print(f"{name}: running", flush=True)
            notebooks.execute(notebooks.source(name), executed, {})
            with written(notebooks.FOLDER / f"{name}.ipynb") as temporary:
                nbformat.write(light(cleaned(nbformat.read(executed, as_version=4))), temporary)


def cleaned(notebook):
    """A copy with sources, tags, execution counts and outputs alone; cells have numbers in place of random ids."""
    clean = nbformat.v4.new_notebook(metadata={"kernelspec": notebooks.KERNEL})
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags")
        kept = {**cell, "id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}}
        clean.cells.append(nbformat.from_dict(kept))
    return clean


def light(notebook):
    """The notebook with pictures that leave it below LARGEST bytes; the executed copy in runs/ has them whole."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    free = [cell for cell in notebook.cells if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    for output in (output for cell in free for output in cell.get("outputs", [])):
        if "text/html" in output.get("data", {}):
            output.data["text/plain"] = "(a table)"
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    whole = [base64.b64decode(output.data["image/png"]) for output in shown]
    for share, colours in LOOKS:
        for output, picture in zip(shown, whole, strict=True):
            output.data["image/png"] = base64.b64encode(_smaller(picture, share, colours)).decode() + "\n"
        if len(nbformat.writes(notebook).encode()) < LARGEST:
            break
    return notebook


def _smaller(picture, share, colours):
    with Image.open(io.BytesIO(picture), formats=["PNG"]) as image:
        size = [round(side * share) for side in image.size]
        image = image.convert("RGB") if share == 1 else image.convert("RGB").resize(size, Image.Resampling.BOX)
    content = io.BytesIO()
    image.quantize(colours, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


if __name__ == "__main__":
    golden()
