"""Rooms of the package, their lines, and what is largest: `python tests/project/house.py`."""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "sleepkit"
# A room imports only rooms that stand before it. The four in the middle of the first line are single files.
ROOMS = ("execution", "genotype", "epochs", "metrics", "results", "recordings", "network", "pruning", "search")
ROOMS += ("evaluation", "paper", "scoring", "experiments", "bench", "__main__", "__init__")
CORE = ("network", "search", "pruning", "evaluation", "genotype", "epochs", "metrics")
WHY = "# long: "  # with a reason, in the line of a long function's `def` or in the one before it


def modules(package=PACKAGE):
    """{room: [paths of its modules]}; a module of the package itself, as its face __init__, is a room of its own."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        found.setdefault(path.relative_to(package).parts[0].removesuffix(".py"), []).append(path)
    return found


def imported(path):
    """[(line, dotted name)] of what a module imports, inside functions too; "a.b.c" for `from a.b import c`."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return names


def functions(path):
    """[(lines, name, whether a reason is given)] of all functions of a module, methods and inner ones among them."""
    text = path.read_text(encoding="utf-8")
    lines, found = text.splitlines(), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            reason = any(WHY in line for line in (lines[node.lineno - 1], *lines[max(0, first - 2) : first - 1]))
            found.append((node.end_lineno - node.lineno + 1, f"{path.stem}.{node.name}", reason))
    return found


def length(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def sizes(package=PACKAGE):
    """Lines: Counter of rooms, Counter of modules, [(lines, function, whether a reason is given)]."""
    rooms, lengths, defined = Counter(), Counter(), []
    for room, paths in modules(package).items():
        for path in paths:
            rooms[room] += length(path)
            lengths[str(path.relative_to(package))] = length(path)
            defined += functions(path)
    return rooms, lengths, sorted(defined, reverse=True)


def report():
    """The house as lines of text."""
    rooms, lengths, defined = sizes()
    order = [*ROOMS, *sorted(set(rooms) - set(ROOMS))]
    lines = [f"{room:12}{rooms[room]:7,}" for room in order if room in rooms]
    lines += [f"without bench {sum(rooms.values()) - rooms['bench']:,}, core {sum(rooms[room] for room in CORE):,}"]
    lines += ["largest modules: " + ", ".join(f"{name} {n}" for name, n in lengths.most_common(5))]
    unexplained = [(n, name) for n, name, reason in defined if not reason]
    return [*lines, "largest functions without a reason: " + ", ".join(f"{name} {n}" for n, name in unexplained[:5])]


if __name__ == "__main__":
    print(*report(), sep="\n")
