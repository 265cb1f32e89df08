"""Reads the commands of a Markdown page: its shell blocks, and commands and queries between backticks."""

import dataclasses
import re

COMMAND = re.compile(r"(aws|curl|invoke|logs) \S|select \S|create \S|alter \S|update \S")
"""The beginning of a command or query in a text."""


@dataclasses.dataclass
class Snippet:
    page: str
    line: int
    text: str

    @property
    def is_sql(self):
        return re.match("(select|create|alter|update) ", self.text) is not None

    @property
    def is_complete(self):
        """Whether it has no placeholder."""
        return "…" not in self.text

    @property
    def first_line(self):
        """The first line that is not a comment."""
        lines = [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]
        return lines[0] if lines else ""


def snippets(name, text):
    """Returns the snippets of a page, in their order. A line break within a command in a text is a space."""
    found = []
    fence = None
    prose = []
    for number, line in enumerate(text.splitlines(), 1):
        opening = re.match(r" *```(\w*)$", line)
        if fence is None and opening:
            found += inline(name, prose)
            prose = []
            fence = (number + 1, opening[1], [])
        elif fence and line.strip() == "```":
            start, language, lines = fence
            if language == "sh":
                indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
                found.append(Snippet(name, start, "\n".join(line[indent:] for line in lines)))
            fence = None
        elif fence:
            fence[2].append(line)
        else:
            prose.append((number, line))
    if fence:
        raise ValueError(f"{name}:{fence[0] - 1}: the block does not end")
    return found + inline(name, prose)


def inline(name, lines):
    """Returns the commands between backticks."""
    found = []
    paragraph = []
    for number, line in [*lines, (0, "")]:
        # A code span does not cross a blank line or a row of a table.
        if not line.strip() or line.startswith("|"):
            found += of_paragraph(name, paragraph)
            found += of_paragraph(name, [(number, line)])
            paragraph = []
        else:
            paragraph.append((number, line))
    return found


def of_paragraph(name, paragraph):
    text = "\n".join(line for _, line in paragraph)
    for match in re.finditer(r"`([^`]+)`", text):
        if COMMAND.match(match[1]):
            number = paragraph[0][0] + text[: match.start()].count("\n")
            yield Snippet(name, number, re.sub(r"\s*\n\s*", " ", match[1]))
