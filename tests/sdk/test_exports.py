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


def test_importing_the_package_alone_imports_no_grpc() -> None:
    """What needs no server, such as the help of the command line, does not wait for it; the first name brings it."""
    code = "import lacewing, sys; before = 'grpc' in sys.modules; lacewing.Client; print(before, 'grpc' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]


def test_the_decorator_is_not_hidden_by_its_module() -> None:
    """Whatever is imported first, `lacewing.task` is the decorator."""
    code = "import lacewing.task, lacewing.sync, lacewing; print(lacewing.task.__name__, callable(lacewing.task))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["task", "True"]
    assert set(lacewing.__all__) <= set(dir(lacewing))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = lacewing.nothing  # type: ignore[attr-defined] # that is what is tested
