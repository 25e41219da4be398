"""The executed notebooks as one static site: a page for each, and a start page with all tables and figures. Nothing on
it needs a script or the network: formulas are MathML, pictures lie beside the pages."""

import ast
import base64
import html
import inspect
import io
import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from sleepkit.execution.notebooks import NAMES
from sleepkit.execution.paths import written
from sleepkit.paper import figures
from sleepkit.paper.items import item
from sleepkit.paper.pictures import light_png

PAGE, STYLE = (Path(__file__).with_name(name).read_text("utf-8") for name in ("site.html", "site.css"))
LINK = re.compile(r"\]\(([^)#:]+)\)")  # in Markdown, to a file


class Renderer(IPythonRenderer):
    """nbconvert's HTML of Markdown with formulas as MathML and links as the site has them; pictures lie in `path`."""

    def block_math(self, body):
        return mathml(body, "block")

    def inline_math(self, body):
        return mathml(body, "inline")

    def latex_environment(self, name, body):
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def link(self, text, url, title=None):
        return super().link(text, re.sub(r"^([^:#]+)\.md$", r"\1.html", url), title)

    def codespan(self, text):
        return f'<a href="{text}.html">{super().codespan(text)}</a>' if text in NAMES else super().codespan(text)

    def image(self, text, url, title=None):
        (width, height), _ = light_png(Path(self.path, url))
        return super().image(text, url, title).replace("<img", f'<img width="{width}" height="{height}"', 1)


def build(notebooks, drawn, output):
    """Write the site into the folder `output` and return the path of its start page; ValueError for a notebook or file
    that is missing, not executed or damaged, and for a bad formula.
    notebooks : folder of the five executed notebooks;  drawn : folder of a profile's tables and figures"""
    drawn, output = Path(drawn), Path(output)
    index = _existing(drawn / "index.md", f"`make figures PROFILE={drawn.name}` writes it").read_text("utf-8")
    pages, files, summaries = {}, {}, []
    for name in sorted(set(LINK.findall(index))):
        path = _existing(drawn / name, f"{drawn}/index.md lists it; `make figures PROFILE={drawn.name}` draws it")
        if path.suffix == ".md":
            pages[path.stem] = heading(text := path.read_text("utf-8")) or name, markdown(text, drawn)
        else:
            files[name] = light_png(path)[1] if path.suffix == ".png" else path.read_bytes()
    exporter = HTMLExporter(template_name="basic", filters={"markdown2html": markdown})
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    for name in NAMES:
        notebook = read_executed(Path(notebooks) / f"{name}.ipynb")
        title, claim = opening(notebook)
        summaries.append(f"**[{title}]({name}.html).** {claim}")
        files |= extract_pictures(notebook, name)
        pages[name] = title, exporter.from_notebook_node(notebook)[0]
    start = "# The five notebooks\n\n" + "\n\n".join(summaries) + "\n\n" + re.sub("^# ", "## ", index)
    pages["index"] = "Tables and figures", markdown(start, drawn)
    for name, (title, body) in pages.items():
        files[f"{name}.html"] = PAGE.format(title=html.escape(title), links=navigation(name), body=body).encode()
    files["style.css"] = (STYLE + HtmlFormatter().get_style_defs(".highlight")).encode()
    for name, content in files.items():
        with written(output / name) as temporary:
            temporary.write_bytes(content)
    print(f"{len(pages)} pages, {sum(map(len, files.values())) / 1e6:.1f} MB: {output / 'index.html'}")
    return output / "index.html"


def navigation(current):
    """Links to the start page and the notebooks; that of the page `current` is marked."""
    texts, marks = (
        {"index": "start"} | {name: name.replace("_", " ") for name in NAMES},
        {current: " aria-current=page"},
    )
    return "\n".join(f'<a href="{name}.html"{marks.get(name, "")}>{text}</a>' for name, text in texts.items())


def read_executed(path):
    """The notebook at `path`; ValueError when there is none, it is no notebook, or it has no outputs."""
    try:
        notebook = nbformat.read(_existing(path, "`make reproduce` runs it"), as_version=4)
    except nbformat.reader.NotJSONError:
        raise ValueError(f"{path}: not a notebook; `make reproduce` runs it anew once it is removed") from None
    if not any(cell.get("outputs") for cell in notebook.cells):
        raise ValueError(f"{path}: no cell has an output; `make reproduce` makes an executed copy")
    return notebook


def opening(notebook):
    """Title and claim of a notebook, from its first cell."""
    text = notebook.cells[0].source
    claim = re.search(r"\*\*(?:The paper's claim|What this does)\.\*\* (.+?)(\n\n|$)", text, re.DOTALL)
    return heading(text), claim[1] if claim else ""


def heading(text):
    """The first heading in a piece of Markdown, or nothing."""
    return next(iter(re.findall(r"^#+ (.+)$", text, re.MULTILINE)), "")


def extract_pictures(notebook, name):
    """{file name: bytes} of the PNG pictures in a notebook's outputs, which from then on refer to the files."""
    files, section = {}, ""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            section = heading(cell.source) or section
        outputs = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        for count, output in enumerate(outputs):
            file = f"{name}_{number}{f'_{count}' if count else ''}.png"
            (width, height), files[file] = light_png(io.BytesIO(base64.b64decode(output.data["image/png"])), file)
            shown = {"width": width, "height": height, "alt": alternative_text(cell.source, section)}
            output.metadata = nbformat.from_dict({"filenames": {"image/png": file}, "image/png": shown})
    return files


def alternative_text(source, section):
    """What the picture of a cell shows, in words: from the call in `source` that draws it, else from its section."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        words = [argument.value for argument in call.args if isinstance(getattr(argument, "value", None), str)]
        if name == "show":
            entry = item(words[0])
            return f"Figure {int(entry.key[3:])}, {entry.title}. {summary(entry.function)}"
        if name.startswith("plot_") and hasattr(figures, name):
            return summary(getattr(figures, name)) + (f" Here: {', '.join(words)}." if words else "")
    return f"Figure in the section “{section}”"


def summary(function):
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.getdoc(function).split("\n\n")[0].replace("`", "").split())


def markdown(text, folder=""):
    """HTML of a piece of Markdown; pictures that it shows lie in `folder`."""
    rendered = MarkdownWithMath(renderer=Renderer(escape=False, path=str(folder))).render(text)
    # a browser may break the line between a formula and the comma after it
    formula = r"(<math[^>]*inline(?:(?!</math>).)*</math>)([,.;:)]+)"
    return re.sub(formula, r'<span class="together">\1\2</span>', rendered)


def mathml(latex, display):
    """A formula as MathML; ValueError for one that is not understood."""
    try:
        formula = convert(latex, display=display)
    except Exception as error:  # latex2mathml has a class of exception for every mistake, and no common one
        raise ValueError(f"the formula {latex!r} cannot be set: {error!r}") from error
    if "\\" in formula:  # an unknown command is passed on as text
        raise ValueError(f"the formula {latex!r} cannot be set: it has a command that latex2mathml does not know")
    return formula


def _existing(path, cure):
    if not path.is_file():
        raise ValueError(f"{path} is missing: {cure}")
    return path
