"""Print the glossary from the vocabulary: ``python docs/glossary.py`` writes docs/glossary.md."""

from __future__ import annotations

from pathlib import Path

from popproj import schema

PAGE = Path(__file__).with_name("glossary.md")


def glossary() -> str:
    """Write the glossary as Markdown."""
    lines = [
        "# Glossary",
        "",
        "Every dimension and variable that popproj's datasets carry, printed from"
        " `popproj/schema.py` by `docs/glossary.py`. Arrays keep their dimensions in the order of"
        " the first table.",
        "",
        "## Dimensions",
        "",
        "| dimension | 日本語 | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{d.name}` | {d.meaning_ja} | {d.dtype} | {d.meaning} |"
        for d in schema.DIMENSIONS.values()
    ]
    lines += [
        "",
        "## Variables",
        "",
        "Lexis shape: a *stock* is counted at an instant; a *period-cohort* flow carries the age"
        " reached at the end of the year, so that it stands on the stock's own labels; an"
        " *age-period* one the age at the event.",
        "",
        "| variable | 日本語 | unit | dimensions | Lexis shape | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{v.name}` | {v.long_name_ja} | {v.units} | {', '.join(v.dims)} | {v.lexis} |"
        f" {v.long_name} |"
        for v in schema.VARIABLES.values()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(glossary(), encoding="utf-8", newline="\n")
