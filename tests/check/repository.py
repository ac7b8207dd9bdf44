"""Checks the rules of the repository that no other tool knows: `python tests/check/repository.py`.

Each rule is a function that yields what breaks it. A rule may also print a note that does not fail the check.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from lacewing_server.domain import lifecycle

ROOT = Path(__file__).parents[2]
HARD_LINES = 500
SOFT_LINES = 300
CODE = {".py", ".proto", ".lua", ".sh", ".go", ".js", ".ts", ".java", ".rs"}
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
TOP_LEVEL = {
    *("protos", "server", "client", "tests", "pyproject.toml", "buf.yaml", "Makefile", "README.md"),
    *("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", ".ci", ".gitignore"),
}
LOCK_FILES = {
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "package-lock.json",
    "yarn.lock",
    "Cargo.lock",
    "go.sum",
}
# These two are spelt so that this file does not break its own rules.
REGISTRIES = re.compile(
    "|".join(
        rf"\b{host}\.{domain}\b"
        for host, domain in (
            *(
                ("pypi", "org"),
                ("pythonhosted", "org"),
                ("registry\\.npmjs", "org"),
                ("crates", "io"),
                ("rubygems", "org"),
            ),
            *(("proxy\\.golang", "org"), ("repo1?\\.maven(\\.apache)?", "(org|com)"), ("deb\\.debian", "org")),
        )
    )
)
UNFINISHED = re.compile(r"\b(T[O]DO|F[I]XME|X{3}|H[A]CK)\b")
SUPPRESSION = re.compile(r"#\s*(noqa(:\s*[A-Z0-9, ]+)?|type:\s*ignore(\[[a-z-, ]+\])?)\s*$")
README_COMMANDS = ("make demo", "make test", "ExecutionService/Execute", " list", " describe ")


def files() -> list[Path]:
    """The files that are committed or would be, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Path(name) for name in names if (ROOT / name).is_file()]


def code() -> Iterator[tuple[Path, list[str]]]:
    """The code written by hand, as lines."""
    for path in files():
        if path.suffix in CODE and not GENERATED.search(path.name):
            yield path, (ROOT / path).read_text().splitlines()


def texts() -> Iterator[tuple[Path, str]]:
    """Everything that is text."""
    for path in files():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            yield path, content.decode()


def top_level() -> Iterator[str]:
    """The top level holds what it should, and nothing else."""
    found = {path.parts[0] for path in files()}
    yield from (f"{name}: does not belong to the top level" for name in sorted(found - TOP_LEVEL))
    yield from (f"{name}: is missing at the top level" for name in sorted(TOP_LEVEL - found))
    yield from (
        f"{path}: lock files are not committed; .ci/constraints.txt pins" for path in files() if path.name in LOCK_FILES
    )


def file_budget() -> Iterator[str]:
    """No file of code has more than 500 lines; those over 300 are told."""
    sizes = sorted(((len(lines), path) for path, lines in code()), reverse=True)
    yield from (f"{path}: {size} lines, the budget is {HARD_LINES}" for size, path in sizes if size > HARD_LINES)
    over = [f"{path} ({size})" for size, path in sizes if SOFT_LINES < size <= HARD_LINES]
    print(f"{len(sizes)} files of code; over {SOFT_LINES} lines: {', '.join(over) or 'none'}.")


def versions() -> Iterator[str]:
    """The version is the newest of the changelog, and that of a release tag on this commit."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = ROOT / "CHANGELOG.md"
    headings = (
        re.findall(r"^## \[?(\d[^\]\s]*)\]? - (.+)$", changelog.read_text(), re.MULTILINE) if changelog.exists() else []
    )
    newest, date = headings[0] if headings else ("none", "")
    if newest != version:
        yield f"CHANGELOG.md: its newest version is {newest}, that of pyproject.toml is {version}"
    command = ["git", "tag", "--points-at", "HEAD", "--list", "v*"]
    for tag in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split():
        if tag != f"v{version}":
            yield f"tag {tag}: the version of pyproject.toml is {version}"
        elif not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
            yield f"CHANGELOG.md: {version} is released, so it needs its date instead of {date!r}"


def registries() -> Iterator[str]:
    """No file names the host of a package registry: where packages come from is the business of whoever installs."""
    for path, text in texts():
        yield from (f"{path}: names the registry {match[0]}" for match in REGISTRIES.finditer(text))


def finished() -> Iterator[str]:
    """Nothing is marked as unfinished, and every silenced warning has its reason on the line."""
    for path, lines in code():
        for number, line in enumerate(lines, 1):
            if UNFINISHED.search(line):
                yield f"{path}:{number}: unfinished: {line.strip()}"
            if SUPPRESSION.search(line):
                yield f"{path}:{number}: silences a warning without a reason: {line.strip()}"


def documents() -> Iterator[str]:
    """The README has the commands of a newcomer; every verb and link of every document exists."""
    readme = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""
    yield from (
        f"README.md: the command {command.strip()!r} is missing" for command in README_COMMANDS if command not in readme
    )
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path, text in texts():
        if path.suffix != ".md":
            continue
        for verb in re.findall(r"(?:^|`|&& )make ([a-z]+)\b", text, re.MULTILINE):
            if verb not in verbs:
                yield f"{path}: there is no verb `make {verb}`"
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target and not (ROOT / path.parent / target).exists():
                yield f"{path}: links to {target}, which does not exist"


def promises() -> Iterator[str]:
    """Every test that the page of promises names is there."""
    path = Path("server") / "PROMISES.md"
    named = re.findall(r"`(tests/[^`:]*)(?:::(\w+))?`", (ROOT / path).read_text())
    if not named:
        yield f"{path}: names no test"
    for file, test in named:
        if not (ROOT / file).exists():
            yield f"{path}: names {file}, which does not exist"
        elif test and not re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE):
            yield f"{path}: names {test} of {file}, which does not exist"


def diagram() -> Iterator[str]:
    """The picture of the states in the server's README is the one of the table."""
    if f"```mermaid\n{lifecycle.diagram()}```\n" not in (ROOT / "server" / "README.md").read_text():
        yield "server/README.md: its diagram is not the one that `python -m lacewing_server.domain.lifecycle` prints"


RULES: tuple[Callable[[], Iterator[str]], ...] = (
    top_level,
    file_budget,
    versions,
    registries,
    finished,
    documents,
    promises,
    diagram,
)


def main() -> None:
    """Applies all rules, so that one run tells everything."""
    problems = [problem for rule in RULES for problem in rule()]
    for problem in problems:
        print(problem)
    sys.exit(f"{len(problems)} problems in the repository." if problems else 0)


if __name__ == "__main__":
    main()
