"""The tiny project of the command's tests."""
from tests.cli.conftest import basicsr, project

__all__ = ['basicsr', 'project']
