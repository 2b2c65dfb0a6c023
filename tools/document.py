"""Replaces the generated parts of a document; what is written by hand around them stays.

A part stands between `<!-- generated: name -->` and the next `<!-- end -->`.
"""

from __future__ import annotations

END = "<!-- end -->"


class MissingSectionError(Exception):
    """A document has no place for a generated part."""


def replace_section(document: str, name: str, body: str) -> str:
    """Put a body between the markers of its name, in the text of a document.

    Raises MissingSectionError if the document lacks one of the two markers.
    """
    begin = f"<!-- generated: {name} -->"
    before, found, rest = document.partition(begin)
    old, ended, after = rest.partition(END)
    if not found or not ended or "<!-- generated: " in old:
        raise MissingSectionError(f"the document has no place {begin} … {END} for this part")
    return f"{before}{begin}\n{body.rstrip()}\n{END}{after}"
