"""The static site, built from the golden notebooks: by its own HTML, and as a headless Chromium shows it."""

import base64
import functools
import io
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from PIL import Image

from sleepkit.execution import paths
from sleepkit.execution.notebooks import NAMES
from sleepkit.paper import items
from sleepkit.paper.html import alternative_text, build, markdown

GOLDEN, FIGURES = paths.ROOT / "notebooks", paths.figures("first5s-cpu")
REPORT = paths.results("first5s-cpu") / "README.md"
CHROMIUM = Path("/usr/bin/chromium")
LIMIT = 15e6  # bytes of a whole site
SILENT = ("style", "code", "pre", "math")  # what is in these is not prose


class Page(HTMLParser):
    """The tags of a page, as (name, {attribute: value}), its ids, and its prose."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.prose, self.open = [], "", []
        self.feed(Path(path).read_text(encoding="utf-8"))
        self.ids = {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in SILENT:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in SILENT:
            self.open.remove(tag)

    def handle_data(self, data):
        if not self.open:
            self.prose += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@functools.cache
def read(path):
    return Page(path)


def targets(page):
    """Addresses on this site that a page links to, and all that it loads."""
    found = [(tag, attributes[key]) for tag, attributes in page.tags for key in ("href", "src") if key in attributes]
    return [address for tag, address in found if not (tag == "a" and address.startswith("https://"))]


def unresolved(path):
    """Addresses in a page that lead nowhere, or out of the site."""
    wrong = []
    for address in targets(read(path)):
        parts = urlsplit(address)
        file = path.parent / unquote(parts.path) if parts.path else path
        inside = not parts.scheme and not parts.netloc and file.parent == path.parent and file.is_file()
        known = inside and (not parts.fragment or unquote(parts.fragment) in read(file).ids)
        if not known and address != "data:,":
            wrong.append(address)
    return wrong


def stored(folder):
    return {name: folder / f"{name}.ipynb" for name in NAMES}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site of the golden notebooks, and of one more run."""
    notebooks = stored(GOLDEN) | {"figures_first5s-cpu": GOLDEN / "prepare.ipynb"}
    return build(notebooks, FIGURES, tmp_path_factory.mktemp("site") / "html", REPORT).parent


@pytest.fixture
def small(tmp_path):
    """Golden notebooks, and a profile's figures with a sheet, one figure, one table, and one item missing."""
    notebooks, drawn = tmp_path / "notebooks", tmp_path / "drawn"
    for folder in (notebooks, drawn):
        folder.mkdir()
    for name in NAMES:
        shutil.copy(GOLDEN / f"{name}.ipynb", notebooks)
    for name, size in (("overview.png", (90, 60)), ("fig06_search_curves.png", (30, 20))):
        Image.new("RGBA", size, "white").save(drawn / name)
    (drawn / "tab08_ablation.md").write_text("# Ablation\n\n| a | b |\n|---|---|\n| 1 | $\\alpha$ |\n")
    (drawn / "index.md").write_text(
        "# Tables and figures, profile `p`\n\n![All figures of the profile](overview.png)\n\n"
        "| item | title | files | numbers from |\n|---|---|---|---|\n"
        "| fig06 | Search | [fig06_search_curves.png](fig06_search_curves.png) | `stage1_edf20` |\n"
        "| fig13 | Ratio | missing | `stage2_prune` |\n"
        "| tab08 | Ablation | [tab08_ablation.md](tab08_ablation.md) | `stage2_prune` |\n"
    )
    return notebooks, drawn


# ---- the pages as files


def test_there_is_a_page_for_every_notebook_and_table(site):
    tables = {path.stem for path in FIGURES.glob("tab*.md")}
    shown = ("index", "results", *NAMES, "figures_first5s-cpu")
    assert tables and {path.stem for path in site.glob("*.html")} == {*shown, *tables}
    for path in site.glob("*.html"):
        page = read(path)
        assert {f"{name}.html" for name in shown} <= set(targets(page))
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
        current = [a["href"] for a in page.all("a") if "aria-current" in a]
        assert current == ([path.name] if path.stem in shown else [])


def test_every_link_resolves_and_every_file_is_linked(site):
    wrong = {path.name: unresolved(path) for path in site.glob("*.html")}
    assert not any(wrong.values()), wrong
    linked = {address for path in site.glob("*.html") for address in targets(read(path))}
    assert {path.name for path in site.iterdir()} - linked == set()
    assert {path.name for path in FIGURES.glob("fig*.*")} <= linked


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<a href="gone.html"><a href="#nowhere"><img src="https://example.org/a.png"><b id="here">')
    assert unresolved(page) == ["gone.html", "#nowhere", "https://example.org/a.png"]


def test_every_picture_has_size_and_text_of_its_own(site):
    for name in NAMES:
        notebook = nbformat.read(GOLDEN / f"{name}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        drawn = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
        shown = read(site / f"{name}.html").all("img")
        assert len(shown) == len(drawn) > 0
        for attributes, picture in zip(shown, drawn, strict=True):
            with Image.open(site / attributes["src"]) as ours, Image.open(io.BytesIO(base64.b64decode(picture))) as its:
                assert ours.size == its.size == (int(attributes["width"]), int(attributes["height"]))
        texts = [attributes["alt"] for attributes in shown]
        assert len(set(texts)) == len(texts) and all(20 < len(text) < 300 for text in texts)
        assert not any("No description" in text for text in texts)


def test_nothing_needs_a_script_and_formulas_are_set(site):
    for path in site.glob("*.html"):
        page = read(path)
        assert not page.all("script") and not page.all("iframe")
        assert "$" not in page.prose and "\\" not in page.prose
    for name in ("stage1_edf20", "stage1_edf78", "stage2_prune"):
        source = "".join(cell.source for cell in nbformat.read(GOLDEN / f"{name}.ipynb", as_version=4).cells)
        assert len(read(site / f"{name}.html").all("math")) > 2 and "$" in source


def test_a_site_is_light(site):
    assert 1e6 < sum(path.stat().st_size for path in site.iterdir()) < LIMIT


def test_every_code_cell_and_table_is_there(site):
    for name in NAMES:
        notebook = nbformat.read(GOLDEN / f"{name}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        kinds = ("text/html", "text/markdown")
        frames = sum(any(kind in out.get("data", {}) for kind in kinds) for cell in code for out in cell.outputs)
        page = read(site / f"{name}.html")
        classes = [attributes.get("class") or "" for attributes in page.all("div")]
        assert sum("code_cell" in value for value in classes) == len(code)
        assert len(page.all("table")) >= frames > 0


def test_the_start_page_answers_names_the_paper_and_tells_claims_and_simulated_nights(site):
    page, text = read(site / "index.html"), (site / "index.html").read_text()
    assert "EEG-Based Sleep Stage Classification via Differentiable Architecture Search" in page.prose
    answers = [line for line in REPORT.read_text().splitlines() if line.startswith("- ")]
    for answer in answers:
        assert answer.split("** ")[1].split(":")[0].strip() in page.prose
    assert len(answers) == 4 and page.prose.index("real nights") < page.prose.index("simulated")
    assert page.prose.count("The paper’s claim:") + page.prose.count("The paper's claim:") == 4
    assert 'href="results.html"' in text and 'src="differences.png"' in (site / "results.html").read_text()


def test_start_page_shows_the_sheet_and_the_index(small, tmp_path, capsys):
    notebooks = {name: stored(small[0])[name] for name in ("stage1_edf20", "stage2_prune")}
    start = build(notebooks, small[1], tmp_path / "html", tmp_path / "none.md")
    page = Page(start)
    assert page.all("img") == [
        {"width": "90", "height": "60", "src": "overview.png", "alt": "All figures of the profile"}
    ]
    assert {"fig06_search_curves.png", "tab08_ablation.html", "stage1_edf20.html"} <= set(targets(page))
    assert "missing" in page.prose and not list(start.parent.glob("*.md")) and unresolved(start) == []
    assert Page(start.with_name("tab08_ablation.html")).all("math")
    assert capsys.readouterr().out.startswith("4 pages, ")


# ---- pieces


def test_text_of_a_picture_comes_from_what_draws_it():
    for entry in items.ITEMS:
        if entry.key.startswith("fig"):
            text = alternative_text(f'show("{entry.key}", profile)', "Cells")
            assert (
                text.startswith(f"Figure {int(entry.key[3:])}, {entry.title}. ") and len(text) > len(entry.title) + 30
            )
    drawn = alternative_text('figures.plot_cells(published("edf20"), found, "normal", note)', "Cells")
    assert drawn.startswith("The cell kind") and drawn.endswith("Here: normal.")
    assert alternative_text("plot_sweep(sweep, note) if len(sweep) else sweep", "").startswith("Accuracy and macro-F1")
    assert alternative_text("plt.plot(x)", "How much can go?") == "Figure in the section “How much can go?”"


def test_markdown_of_the_site():
    assert 'href="tab01_epochs.html"' in markdown("[tab01_epochs.md](tab01_epochs.md)")
    assert 'href="https://example.org/a.md"' in markdown("[a](https://example.org/a.md)")
    assert '<span class="together"><math' in markdown("for all $o$, and then") and "</math>,</span>" in markdown(
        "$o$, $p$"
    )
    assert markdown("$a$ and $b$:").count("together") == 1
    assert 'display="block"' in markdown("$$\\frac{1}{2}$$")


@pytest.mark.parametrize("formula", [r"\unheardof{x}", r"\left( x", "x^", "x_1_2"])
def test_a_formula_that_cannot_be_set_is_refused(formula):
    with pytest.raises(ValueError, match="cannot be set"):
        markdown(f"a ${formula}$ b")


def spoil_notebook(notebooks, drawn):
    (notebooks / "figures.ipynb").write_text("{ half a file")


def strip_notebook(notebooks, drawn):
    notebook = nbformat.read(notebooks / "prepare.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbformat.write(notebook, notebooks / "prepare.ipynb")


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda notebooks, drawn: (notebooks / "stage2_prune.ipynb").unlink(),
            "stage2_prune.ipynb is missing: `make rep",
        ),
        (
            lambda notebooks, drawn: (drawn / "index.md").unlink(),
            "index.md is missing: `make figures PROFILE=drawn`",
        ),
        (lambda notebooks, drawn: (drawn / "tab08_ablation.md").unlink(), "tab08_ablation.md is missing: "),
        (lambda notebooks, drawn: (drawn / "overview.png").write_bytes(b"\x89PNG"), "overview.png: not a PNG"),
        (spoil_notebook, "figures.ipynb: not a notebook"),
        (strip_notebook, "prepare.ipynb: no cell has an output"),
    ],
)
def test_what_is_missing_or_damaged_is_named_and_nothing_is_written(spoil, words, small, tmp_path):
    spoil(*small)
    with pytest.raises(ValueError) as refused:
        build(stored(small[0]), small[1], tmp_path / "html", tmp_path / "none.md")
    assert words in str(refused.value)
    assert not (tmp_path / "html").exists()


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"needs Debian's chromium in {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as engine:
        # no sandbox: root, whom containers run as, cannot have one; the pages are our own
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


def complaints(browser, path, width):
    """What a reader of a page with a window of `width` would stumble over, and how many pictures there are."""
    found = []
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.on("console", lambda message: message.type in ("error", "warning") and found.append(message.text))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("requestfailed", lambda request: found.append(f"not loaded: {request.url}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or found.append(request.url))
    page.goto(path.as_uri())
    if page.evaluate("document.documentElement.scrollWidth") > width:
        found.append(f"wider than {width} pixels")
    pictures = page.evaluate(
        "[...document.images].map("
        "i => [i.getAttribute('src'), i.naturalWidth * i.naturalHeight, i.width, i.height, i.alt])"
    )
    found += [f"picture without size or text: {each}" for each in pictures if not all(each)]
    found += [f"wider than its column: {each}" for each in pictures if each[2] > width]
    # a formula that the browser does not understand takes no room
    boxes = page.evaluate("[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().width)")
    found += ["formula without extent" for box in boxes if not box]
    page.close()
    return found, len(pictures)


@pytest.mark.parametrize("width", [390, 1280])
def test_chromium_has_nothing_to_complain_of(browser, site, width):
    pages = sorted(site.glob("*.html"))
    seen = {path.name: complaints(browser, path, width) for path in pages}
    assert not any(found for found, _ in seen.values()), seen
    assert sum(number for _, number in seen.values()) >= sum(len(read(path).all("img")) for path in pages) > 10


def test_chromium_follows_the_links(browser, site):
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    for name in NAMES:
        page.click(f"nav a[href='{name}.html']")
        assert page.url.endswith(f"/{name}.html") and page.locator("h1").count() == 1
        assert page.locator("nav a[aria-current]").inner_text() == name.replace("_", " ")
    page.click("nav a[href='results.html']")
    assert page.locator("nav a[aria-current]").inner_text() == "real nights"
    page.click("nav a[href='index.html']")
    page.click("td a[href='tab01_epochs.html']")
    assert page.locator("table tr").count() > 2
    page.close()


def test_chromium_complains_of_a_bad_page(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<script>console.error('oh'); nothing()</script><img src='gone.png'><p style='width: 2000px'>wide</p>"
        "<script src='https://cdn.example.org/a.js'></script>"
    )
    found, _ = complaints(browser, page, 390)
    for words in (
        "oh",
        "nothing is not defined",
        "gone.png",
        "cdn.example.org",
        "wider than 390",
        "without size or text",
    ):
        assert any(words in each for each in found), (words, found)
