"""Pictures as small files: PNG with a palette, SVG with short numbers and each style named once."""

import io
import re
from pathlib import Path

from PIL import Image

COLOURS = 256  # of a PNG; a third of the bytes of matplotlib's 16 million, and no difference to be seen
DECIMALS = 2  # of a place in an SVG, points


def light_png(picture, name=None):
    """((width, height) in pixels, bytes) of a PNG (path, or open file with a `name`), its colours reduced to a palette,
    as it is where it has one; ValueError when it is not a PNG."""
    try:
        content = Path(picture).read_bytes() if isinstance(picture, str | Path) else picture.read()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            if image.mode == "P":
                return image.size, content
            light, dots = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE), image.info.get("dpi")
    except (OSError, SyntaxError) as error:  # a SyntaxError is Pillow's word for a damaged PNG
        raise ValueError(f"{name or picture}: not a PNG picture that can be read ({error}); draw it again") from error
    light.save(small := io.BytesIO(), "PNG", optimize=True, dpi=dots)
    return light.size, small.getvalue()


def light_svg(text):
    """matplotlib's SVG in a third of the bytes: places with two decimals, no comments and names of parts, lines of one
    look as one path, and a class for every look."""
    text = re.sub(r'(\b[dxy]="|translate\()([^")]*)', _short, text)
    text = re.sub(r'<g id="\w+_\d+">', "<g>", re.sub(r">\s+<", ">\n<", re.sub(r"<!--.*?-->", "", text)))
    line = r'<path d="[^"]*" (clip-path="[^"]*" style="fill: none;[^"]*"/>)'  # of a collection: they cover no other
    text = re.sub(rf'{line}(\n<path d="[^"]*" \1)+', _joined, text)
    looks = {}
    text = re.sub(r' style="([^"]*)"', lambda m: f' class="{looks.setdefault(m[1], f"s{len(looks)}")}"', text)
    rules = "\n".join(f".{name}{{{look}}}" for look, name in looks.items())
    return text.replace("</style>", f"\n{rules}</style>", 1)


def _short(match):
    value = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.{DECIMALS}f}".rstrip("0").rstrip("."), match[2])
    return match[1] + re.sub(r"[ \n]*([A-Za-z]|$)[ \n]*", r"\1", value)


def _joined(match):
    line = "".join(re.findall(r' d="([^"]*)"', match[0]))
    return f'<path d="{line}" {match[1]}'
