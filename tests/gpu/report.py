# SPDX-License-Identifier: Apache-2.0
"""Pieces of the report, in Markdown."""


class LeftOut(Exception):
    """Raised by a part that cannot run here; its text is the reason."""


def cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(head, rows):
    """Lines of a table; a line that says so where there are no rows."""
    if not rows:
        return ["(none)", ""]
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell(c) for c in line) + " |" for line in lines] + [""]


def code(names, limit=60):
    """Names as code, one behind another."""
    names = list(names)
    more = [f"… {len(names) - limit} more"] if len(names) > limit else []
    return ", ".join([f"`{name}`" for name in names[:limit]] + more) or "none"


def size(value):
    if value is None:
        return "?"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"
