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

from sleepkit.execution import paths
from sleepkit.execution.notebooks import FOLDER, NAMES
from sleepkit.paper import figures
from sleepkit.paper.items import item
from sleepkit.paper.pictures import light_png

PAGE, STYLE = (Path(__file__).with_name(name).read_text("utf-8") for name in ("site.html", "site.css"))
LINK = re.compile(r"\]\(([^)#:]+)\)")  # in Markdown, to a file
START = """# sleepkit: a paper that runs

The runnable companion of *EEG-Based Sleep Stage Classification via Differentiable Architecture Search and Multi-Level
Pruning* (V.-D. Khuat and W. Lim): published number and measured one next to each other.

"""
NOTEBOOKS = """## The notebooks

Those of the demo run on *simulated* nights: their numbers show that every step works, not how well it works on people.
Each opens with what the paper claims and ends with what came out.

"""
LABELS = {"index": "start", "results": "real nights"}


class Renderer(IPythonRenderer):
    """nbconvert's HTML of Markdown with formulas as MathML and links as the site has them; pictures lie in `path`."""

    def block_math(self, body):
        return mathml(body, "block")

    def inline_math(self, body):
        return mathml(body, "inline")

    def latex_environment(self, name, body):
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def link(self, text, url, title=None):
        if ":" in url or url.startswith("#"):
            return super().link(text, url, title)
        return super().link(text, re.sub(r"\.md$", ".html", Path(url).name), title)

    def codespan(self, text):
        return f'<a href="{text}.html">{super().codespan(text)}</a>' if text in NAMES else super().codespan(text)

    def image(self, text, url, title=None):
        (width, height), _ = light_png(Path(self.path, url))
        shown = super().image(text, Path(url).name, title)
        return shown.replace("<img", f'<img width="{width}" height="{height}"', 1)


def site(profile):
    """Build runs/<profile>/html/ and return the path of its start page: the demo's five notebooks (as they were last
    run, else as they are stored), those of the profile that were run, its results in words, its tables and figures."""
    demo = {name: paths.runs("demo") / f"{name}.ipynb" for name in NAMES}
    pages = {name: path if path.exists() else FOLDER / path.name for name, path in demo.items()}
    if profile != "demo":
        own = {name: paths.runs(profile) / f"{name}.ipynb" for name in NAMES}
        pages |= {f"{name}_{profile}": path for name, path in own.items() if path.exists()}
    return build(pages, paths.figures(profile), paths.runs(profile) / "html", paths.results(profile) / "README.md")


def build(notebooks, drawn, output, report):
    """Write the site into the folder `output` and return the path of its start page; ValueError for a notebook or file
    that is missing, not executed or damaged, and for a bad formula.
    notebooks : dict name of a page -> path of an executed notebook;  drawn : folder of a profile's tables and figures
    report : path of its results in words, whose first list answers on the start page; it need not exist"""
    drawn, output = Path(drawn), Path(output)
    index = _existing(drawn / "index.md", f"`make figures PROFILE={drawn.name}` writes it").read_text("utf-8")
    pages, files = {}, {}
    executed = {name: read_executed(Path(path)) for name, path in notebooks.items()}
    for name in sorted(set(LINK.findall(index))):
        path = _existing(drawn / name, f"{drawn}/index.md lists it; `make figures PROFILE={drawn.name}` draws it")
        if path.suffix == ".md":
            pages[path.stem] = heading(text := path.read_text("utf-8")) or name, markdown(text, drawn)
        else:
            files[name] = light_png(path)[1] if path.suffix == ".png" else path.read_bytes()
    summaries = []
    for name, notebook in executed.items():
        pages[name], opened, pictures = _notebook_page(name, notebook)
        summaries.append(opened if name in NAMES else f"- On real nights: [{pages[name][0]}]({name}.html)")
        files |= pictures
    answers = ""
    if report.exists():
        pages["results"], answers, pictures = _report_page(report, {*pages, "index"})
        files |= pictures
    start = START + answers + NOTEBOOKS + "\n".join(summaries) + "\n\n" + re.sub("^# ", "## ", index)
    pages["index"] = heading(START), markdown(start, drawn)
    shown = [page for page in ("index", "results", *notebooks) if page in pages]
    for name, (title, body) in pages.items():
        page = PAGE.format(title=html.escape(title), links=navigation(name, shown), body=body)
        files[f"{name}.html"] = page.encode()
    files["style.css"] = (STYLE + HtmlFormatter().get_style_defs(".highlight")).encode()
    for name, content in files.items():
        with paths.written(output / name) as temporary:
            temporary.write_bytes(content)
    print(f"{len(pages)} pages, {sum(map(len, files.values())) / 1e6:.1f} MB: {output / 'index.html'}")
    return output / "index.html"


def _notebook_page(name, notebook):
    """((title, HTML), title and claim as an entry of a list, {file name: bytes} of its pictures) of a notebook."""
    title, claim = opening(notebook)
    pictures = extract_pictures(notebook, name)
    exporter = HTMLExporter(template_name="basic", filters={"markdown2html": markdown})
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    return (title, exporter.from_notebook_node(notebook)[0]), f"- [{title}]({name}.html) {claim}", pictures


def _report_page(report, pages):
    """((title, HTML), its first list, {file name: bytes} of its pictures) of a profile's results in words; links to
    pages that the site does not have are left out."""

    def kept(link):
        return link[0] if Path(link[2]).stem in pages else link[1]

    text = re.sub(r"(?<!!)\[([^]]+)\]\(([^)#:]+\.md)\)", kept, report.read_text("utf-8"))
    paths_of = [Path(report.parent, name) for name in LINK.findall(text) if name.endswith(".png")]
    answers = next(part for part in text.split("\n\n") if part.startswith("- "))
    answers = f"## What was found on real nights\n\n{answers}\n\n[Question by question](results.html)\n\n"
    return (heading(text), markdown(text, report.parent)), answers, {path.name: light_png(path)[1] for path in paths_of}


def navigation(current, names):
    """Links to the pages `names`; that of the page `current` is marked."""
    mark = {current: " aria-current=page"}
    return "\n".join(
        f'<a href="{name}.html"{mark.get(name, "")}>{LABELS.get(name, name.replace("_", " "))}</a>' for name in names
    )


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
    claim = re.search(r"\*\*(The paper's claim|What this does)\.\*\* (.+?)(\n\n|$)", text, re.DOTALL)
    return heading(text), f"*{claim[1]}:* {claim[2]}" if claim else ""


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
        if name in ("show", "preview") and words:
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
