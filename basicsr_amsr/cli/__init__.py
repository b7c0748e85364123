"""The `basicsr` command: a table of subcommands, of which the chosen one is imported once its flags are read."""
from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from basicsr_amsr import allocator
from basicsr_amsr.cli.garbage import uncollected
from basicsr_amsr.errors import UserError
from basicsr_amsr.resources import resolve
from basicsr_amsr.version import __version__

PROG = 'basicsr'
REPORT = f'{PROG}: this is a fault of basicsr_amsr {__version__}: please report it, with the lines above.'


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: has `run(args) -> int`.
        help: what it does. Its flags are those of `flags/NAME_flags.py`: `add_arguments(parser)`.
    """

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    'train': Command('basicsr_amsr.cli.train', 'train a network as an option file says'),
    'test': Command('basicsr_amsr.cli.test', 'test a network on image sets; writes images and metrics.json'),
    'infer': Command('basicsr_amsr.cli.infer', 'enlarge a picture or a folder of them with any network'),
    'prepare': Command('basicsr_amsr.cli.prepare', 'make LR images, sub-images and LMDB for training; check pairs'),
    'profile': Command('basicsr_amsr.cli.profile', 'count parameters and MACs of a network, and time it'),
    'calibrate': Command('basicsr_amsr.cli.calibrate', 'fit an accelerated network to a folder of unlabelled images'),
    'bench': Command('basicsr_amsr.cli.bench', 'time networks in dense and sparse forms against one another'),
    'freq': Command('basicsr_amsr.cli.freq', 'show what networks restore, by degradation and spatial frequency'),
    'list': Command('basicsr_amsr.cli.listing', 'list networks, data sets, losses, metrics … and where they come from'),
    'options': Command('basicsr_amsr.cli.options_reference',
                       'print what option files may hold, as a page or JSON schema'),
    'doctor': Command('basicsr_amsr.cli.doctor', 'check the installation and the machine'),
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line in one line, as for every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f'{message} (see {self.prog} -h)')


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command; only the chosen subcommand gets its arguments."""
    parser = _Parser(
        PROG, formatter_class=_HelpFormatter,
        description='Super-resolution that computes only where the image is hard; runs BasicSR option files.',
        epilog=f'`{PROG} COMMAND -h` says more. Results go to the current folder.')
    parser.add_argument('--version', action='version', version=f'basicsr_amsr {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=f'{command.help[0].upper()}{command.help[1:]}.',
                                  formatter_class=_HelpFormatter)
        if name == chosen:
            importlib.import_module(f'{__name__}.flags.{name}_flags').add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; `argv` is without the program's name, by default that of the process.

    Returns:
        0; 1 where a check found a problem, and for a fault of this package, with its traceback; 2 for a user's mistakes
        (a line each on stderr); 130 when interrupted; 141 when nobody reads the output any more.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith('-')), None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # names of files need be no text
    try:
        args = build_parser(chosen).parse_args(words)
        require_option_files(args)
        allocator.tune()
        with uncollected():
            command = importlib.import_module(COMMANDS[args.command].module)
        code: int = command.run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        return told(error)
    except KeyboardInterrupt:
        print(f'\n{PROG}: stopped.', file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return 141
    except Exception as error:
        mistake = of_the_system(error)
        if mistake is not None:
            return told(mistake)
        traceback.print_exc()
        print(REPORT, file=sys.stderr)
        return 1


def require_option_files(args: argparse.Namespace) -> None:
    """UserError where an option file is not there, before anything is imported that takes seconds."""
    files = getattr(args, 'opt', None) or []
    for file in [files] if isinstance(files, str) else files:
        if not resolve(file).exists():
            raise UserError(f'Option file not found: {file}')


def told(error: UserError) -> int:
    """Print the lines of a user's mistake; exit code 2."""
    if development_mode():
        traceback.print_exc()
    for line in error.lines:
        print(f'{PROG}: error: {line}', file=sys.stderr)
    return 2


def of_the_system(error: Exception) -> UserError | None:
    """A file that cannot be used, a package or memory that is not there, whatever command meets it."""
    if isinstance(error, ModuleNotFoundError) and error.name is None:  # BasicSR, without which there are no reasons
        return UserError(str(error))
    from basicsr_amsr.reasons import is_out_of_memory, reason  # imports PyTorch, which takes a second

    if is_out_of_memory(error) or isinstance(error, (OSError, ModuleNotFoundError)):
        return UserError(f'{reason(error)}.')
    return None


def development_mode() -> bool:
    """Whether Python runs with `-X dev` (PYTHONDEVMODE=1): then a user's mistake shows its traceback too."""
    return sys.flags.dev_mode
