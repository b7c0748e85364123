"""The commands in README and docs: what a reader may type."""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = re.compile(r'^ *```bash\n(.*?)^ *```', re.MULTILINE | re.DOTALL)
OURS = ('basicsr ', 'python -m benchmarks', 'python benchmarks/', 'python -m tests.', 'torchrun ')
INLINE = re.compile(r'`((?:basicsr [a-z]+ |python -m benchmarks\.|python benchmarks/|python -m tests\.)[^`…<>]*)`',
                    re.DOTALL)


class Line(NamedTuple):
    """A command and the page that it stands on."""

    page: str
    text: str


def pages(repository: Path) -> list[Path]:
    """README and the pages of the site."""
    return [repository / 'README.md', repository / 'CONTRIBUTING.md', *sorted((repository / 'docs').rglob('*.md'))]


def commands(repository: Path) -> Iterator[Line]:
    """Each command of our own, in shell blocks line by line, continued lines joined, and in running text."""
    for page in pages(repository):
        text = page.read_text(encoding='utf-8')
        name = page.relative_to(repository).as_posix()
        for block in BLOCK.findall(text):
            for line in block.replace('\\\n', ' ').splitlines():
                for part in line.split('&&'):
                    command = without_comment(part).strip()
                    if command.startswith(OURS):
                        yield Line(name, ' '.join(command.split()))
        for command in INLINE.findall(text):
            yield Line(name, ' '.join(command.split()))


def others(repository: Path) -> Iterator[Line]:
    """The lines of shell blocks that are no command of our own: environments, pip, what a here-document holds."""
    for page in pages(repository):
        for block in BLOCK.findall(page.read_text(encoding='utf-8')):
            for line in block.replace('\\\n', ' ').splitlines():
                for part in line.split('&&'):
                    if (command := without_comment(part).strip()) and not command.startswith(OURS):
                        yield Line(page.relative_to(repository).as_posix(), command)


def without_comment(line: str) -> str:
    """The line up to a `#` that starts a word outside quotes."""
    quote = ''
    for at, letter in enumerate(line):
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '\'"':
            quote = letter
        elif letter == '#' and line[at - 1:at] in ('', ' '):
            return line[:at]
    return line
