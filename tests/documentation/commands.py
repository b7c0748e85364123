"""The commands in README and docs: what a reader may type."""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = re.compile(r'^ *```bash\n(.*?)^ *```', re.MULTILINE | re.DOTALL)
OURS = ('basicsr ', 'python -m benchmarks', 'python benchmarks/', 'python -m tests.', 'torchrun ')
INLINE = re.compile(
    r'`((?:basicsr\s[a-z]+\s|python\s-m\sbenchmarks\.|python\sbenchmarks/|python\s-m\stests\.)[^`…<>]*)`', re.DOTALL)


HERE_DOCUMENT = re.compile(r"<<'(\w+)'\n.*?^\1$", re.MULTILINE | re.DOTALL)
OTHERS = re.compile(r'`((?:pip|python install\.py|pytest|mkdocs|ruff|mypy)\b[^`…]*)`')


class Line(NamedTuple):
    """A command and the page that it stands on."""

    page: str
    text: str


def pages(repository: Path) -> list[Path]:
    """README and the pages of the site."""
    return [repository / 'README.md', repository / 'CONTRIBUTING.md', *sorted((repository / 'docs').rglob('*.md'))]


def commands(repository: Path) -> Iterator[Line]:
    """Each command of our own, in shell blocks and in running text."""
    for page in pages(repository):
        text = page.read_text(encoding='utf-8')
        name = page.relative_to(repository).as_posix()
        yield from (Line(name, command) for command in in_blocks(text) if command.startswith(OURS))
        yield from (Line(name, ' '.join(command.split())) for command in INLINE.findall(text))


def others(repository: Path) -> Iterator[Line]:
    """What a reader may type beside: environments, pip, tests, in shell blocks and in running text."""
    for page in pages(repository):
        text = page.read_text(encoding='utf-8')
        name = page.relative_to(repository).as_posix()
        yield from (Line(name, command) for command in in_blocks(text) if not command.startswith(OURS))
        for line in OTHERS.findall(text):
            yield from (Line(name, ' '.join(part.split())) for part in line.split('&&'))


def in_blocks(text: str) -> Iterator[str]:
    """The commands of a page's shell blocks: continued lines joined, comments and here-documents left out."""
    for block in BLOCK.findall(text):
        for line in HERE_DOCUMENT.sub('', block).replace('\\\n', ' ').splitlines():
            for part in line.split('&&'):
                if command := ' '.join(without_comment(part).split()):
                    yield command


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
