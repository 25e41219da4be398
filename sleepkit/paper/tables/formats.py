"""How a table becomes files: CSV with full precision, Markdown and LaTeX (booktabs) for readers. There, columns "X" and
"X sd" are joined as mean ± sd, and the best value of a score or cost is bold."""

import textwrap

import pandas as pd

from sleepkit.execution.paths import written
from sleepkit.results import write_table

HEADS = {"acc": "ACC, %", "mf1": "MF1, %", "kappa": "kappa", "mgm": "MGm, %"}
HIGHER = ("ACC", "MF1", "kappa", "MGm", "precision", "recall", "F1", "G-mean", "epochs per second")  # is better
LOWER = ("parameters", "MACs", "file", "median", "95th percentile", "peak memory", "start-up")
GROUPS = ("data set", "protocol", "epoch, s", "samples of an epoch", "stage")  # only rows alike in these are compared
WIDE = 32  # characters beyond which a column of text wraps in LaTeX
HEAD = 18  # characters beyond which a head goes on in the next line
LINE = 85  # characters of a line of LaTeX's \small, about
TEX = {character: f"\\{character}" for character in "&%$#_{}"}
TEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
TEX |= {"α": r"$\alpha$", "κ": r"$\kappa$", "λ": r"$\lambda$", "μ": r"$\mu$", "µ": r"\textmu{}"}
TEX |= {"–": "--", "−": "$-$", "±": r"$\pm$", "√": r"$\surd$", "<": "$<$", ">": "$>$"}
TEX = str.maketrans(TEX)


def factor(key):
    """What turns a score of crossval.csv into the unit of its head: 100 for shares, 1 for kappa."""
    return 100 if HEADS[key].endswith("%") else 1


def save(table, stem, title, note=""):
    """Write <stem>.csv, .md and .tex with `title` over and `note` under the table; return the paths."""
    bold, alike = any(bold for row in _shown(table)[2] for _, bold in row), [name for name in GROUPS if name in table]
    among = f" among rows of the same {', '.join(alike)}" if alike else ""
    note = " ".join(filter(None, [f"Bold: the best of its column{among}." if bold else "", note]))
    csv, *others = paths = [stem.with_suffix(f".{ending}") for ending in ("csv", "md", "tex")]
    write_table(table, csv)
    page = f"# {title}\n\n{markdown(table)}\n" + (f"\n{note}\n" if note else "")
    for path, text in zip(others, (page, latex(table, stem.name.split("_")[0], title, note)), strict=True):
        with written(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def markdown(table):
    """The data frame as a Markdown table: numbers right, two decimals (kappa three), mean ± sd in one column."""
    heads, numeric, rows = _shown(table)
    lines = [heads, *([f"**{text}**" if bold else text for text, bold in row] for row in rows)]
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    lines.insert(1, ["---:" if right else "---" for right in numeric])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(table, label, caption, note=""):
    """The data frame as a LaTeX `table` for the package booktabs; wide columns of text and long heads wrap, and a table
    that is still wider than the page shrinks."""
    heads, numeric, rows = _shown(table)
    stacked = [textwrap.wrap(head, HEAD, break_long_words=False, break_on_hyphens=False) for head in heads]
    widths = [max(len(text) for text in (*stacked[i], *(row[i][0] for row in rows))) for i in range(len(heads))]
    long = [width > WIDE for width in widths]
    rest = sum(width + 2 for width in widths if width <= WIDE) / LINE
    wrapped = f"p{{{max(0.95 - rest, 0.3 * sum(long)) / max(sum(long), 1):.2f}\\linewidth}}"
    columns = "".join("r" if right else wrapped if wide else "l" for right, wide in zip(numeric, long, strict=True))
    head = " & ".join(_stack(lines, right) for lines, right in zip(stacked, numeric, strict=True))
    body = [[rf"\textbf{{{t.translate(TEX)}}}" if bold else t.translate(TEX) for t, bold in row] for row in rows]
    lines = [r"% needs \usepackage{booktabs,graphicx,textcomp}", r"\begin{table}", r"\centering", r"\small"]
    lines += [rf"\caption{{{caption.translate(TEX)}}}", rf"\label{{{label}}}"]
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", rf"{head} \\", r"\midrule", *(" & ".join(row) + r" \\" for row in body), r"\bottomrule"]
    foot = ["", rf"\footnotesize {note.translate(TEX)}"] if note else []
    return "\n".join([*lines, r"\end{tabular}}", *foot, r"\end{table}", ""])


def _shown(table):
    """(heads, whether numeric, rows of (text, bold)) as a reader sees them."""
    columns = [column for column in table.columns if not column.endswith(" sd")]
    numeric = [pd.api.types.is_numeric_dtype(table[column]) and table[column].dtype != bool for column in columns]
    groups = [table[name].to_numpy() for name in GROUPS if name in table] or [[0] * len(table)]
    parts = [part for _, part in table.reset_index(drop=True).groupby(groups, sort=False)]
    best = {(i, column) for part in parts for column in columns for i in _best(part[column], column)}
    rows = []
    for i, row in enumerate(table.to_dict("records")):
        texts = (_cell(row[c], row.get(f"{c} sd"), 3 if c.endswith("kappa") else 2, "difference" in c) for c in columns)
        rows.append([(text, (i, column) in best) for text, column in zip(texts, columns, strict=True)])
    return columns, numeric, rows


def _best(values, head):
    """Labels of the best of two or more numbers of a series, by the meaning of its head; none where all are alike."""
    name = head.split(",")[0]
    numbers = pd.to_numeric(values, errors="coerce").dropna().astype(float)
    if name not in HIGHER + LOWER or len(numbers) < 2 or numbers.nunique() == 1:
        return []
    return list(numbers.index[numbers == (numbers.max() if name in HIGHER else numbers.min())])


def _cell(value, sd, decimals, signed):
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return "–"
    sign = "+" if signed and value else ""
    whole = float(value).is_integer() and not isinstance(value, float)
    text = f"{value:{sign},}" if whole else f"{value:{sign}.{decimals}f}"
    return text.replace("-", "−") + ("" if whole or sd is None or pd.isna(sd) else f" ± {sd:.{decimals}f}")


def _stack(lines, right):
    stacked, side = r"\\".join(line.translate(TEX) for line in lines), "r" if right else "l"
    return rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stacked}\end{{tabular}}" if len(lines) > 1 else stacked
