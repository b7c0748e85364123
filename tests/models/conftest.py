"""The tiny project of the command's tests."""
from tests.cli.conftest import basicsr, project  # noqa: F401
