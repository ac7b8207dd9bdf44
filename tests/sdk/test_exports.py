"""The public surface of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lacewing


def test_what_is_exported_is_there_and_sorted() -> None:
    """Each name of `__all__` exists and has a docstring."""
    assert lacewing.__all__ == sorted(lacewing.__all__)
    assert [name for name in lacewing.__all__ if not getattr(lacewing, name).__doc__] == []


def test_nothing_else_is_public() -> None:
    """A public name that is neither exported nor a module of the package is an accident."""
    import_names = {name for name in vars(lacewing) if not name.startswith("_")} - set(lacewing.__all__)
    strangers = {name for name in import_names if f"lacewing.{name}" not in sys.modules}
    assert strangers == {"annotations"}


@pytest.mark.parametrize("module", ["click", "rich", "pydantic", "pydantic_settings", "redis", "lacewing_server"])
def test_importing_the_sdk_does_not_import(module: str) -> None:
    """A caller pays for gRPC and protobuf, and for nothing else."""
    code = f"import lacewing, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
