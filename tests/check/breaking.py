"""Checks that the protos break no promise of wire or JSON: `python tests/check/breaking.py`.

The promise begins with the newest release that the work tree descends from. Before the first release it begins with the
commit that gave the project its present version. A clone without that history is refused rather than passed.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"


def git(*arguments: str) -> str:
    """Runs git in the repository and returns what it says."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def baseline() -> tuple[str, str]:
    """The revision where the promise begins, and how to call it."""
    if git("rev-parse", "--is-shallow-repository") == "true":
        sys.exit("This clone is shallow and cannot tell what the protos promised: git fetch --unshallow --tags")
    tags = git("tag", "--merged", "HEAD", "--sort", "-version:refname", "--list", "v*").split()
    if tags:
        return tags[0], f"release {tags[0]}"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    commits = git("log", "--format=%h", f'-Sversion = "{version}"', "--", "pyproject.toml").split()
    if not commits:
        sys.exit(
            f"Version {version} is not committed yet, so there is nothing to compare the protos with: commit it first."
        )
    return commits[-1], f"{commits[-1]}, where version {version} began (there is no release yet)"


def main() -> None:
    """Compares the protos of the work tree with those of the baseline."""
    revision, name = baseline()
    archive = subprocess.run(
        ["git", "archive", "--format=zip", revision, "buf.yaml", "protos"], cwd=ROOT, check=True, capture_output=True
    )
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(io.BytesIO(archive.stdout)).extractall(folder)
        count = len(list(Path(folder).rglob("*.proto")))
        print(f"Comparing the protos with the {count} of {name}.")
        sys.exit(subprocess.run([BUF, "breaking", "--against", folder], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
