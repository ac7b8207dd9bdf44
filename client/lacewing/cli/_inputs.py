"""The inputs of a task as flags: made of its interface, and read into plain values as JSON has them.

What a flag cannot express (names that are no flags, unions of several types, an explicit null) is given by
`--inputs-json`. A text that does not fit its type is passed on as it is: the conversion by the interface refuses it and
names the place, together with everything else that is wrong.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lacewing.types import admits_none, describe_type, literal_map_to_json
from lacewing.v1 import interface_pb2, literals_pb2, task_pb2, types_pb2

# Flags have dashes where names have underscores; a command of theirs takes both.
FLAG_SETTINGS: Mapping[str, Any] = {"token_normalize_func": lambda flag: flag.replace("_", "-")}

_FLAG_NAME = re.compile(r"[^\W_][\w.-]*")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class InputOption(click.Option):
    """The flag of one input."""

    def __init__(self, name: str, variable: interface_pb2.Variable, default: str | None, *, index: int) -> None:
        """Make the flag.

        Args:
            name: The name of the input.
            variable: Its type and description.
            default: What it is if it is left out, as JSON. None: it has no default.
            index: Tells apart the flags of one task, whatever they are named.
        """
        self.input_name = name
        self._inner = _without_none(variable.type)
        flag = "--" + name.replace("_", "-")
        note = f"[default: {default}]" if default is not None else "" if admits_none(variable.type) else "[required]"
        told = (variable.description, _record_fields(self._inner), note)
        shared: dict[str, Any] = {"help": "  ".join(filter(None, told)), "default": None}
        destination = f"input_{index}"
        if self._inner.simple == types_pb2.SIMPLE_TYPE_BOOLEAN and self._inner.HasField("simple"):
            super().__init__([destination, f"{flag}/--no-{flag[2:]}"], **shared)
            return
        super().__init__(
            [destination, flag],
            multiple=_is_repeated(self._inner),
            metavar=_metavar(self._inner),
            shell_complete=self._complete,
            **shared,
        )

    def plain(self, given: Any) -> Any:
        """Return the plain value of what was given.

        Raises:
            click.BadParameter: A file cannot be read.
        """
        if isinstance(given, bool):
            return given
        if self.multiple:
            return _of_texts(list(given), self._inner)
        return _of_text(given, self._inner)

    def was_given(self, given: Any) -> bool:
        """Return whether the flag was there."""
        return given is not None and given != ()

    def _complete(self, context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG002 - the signature is click's
        return [value for value in self._inner.enum_type.values if value.startswith(incomplete)]


def input_options(spec: task_pb2.TaskSpec) -> Iterator[InputOption]:
    """Yield a flag for each input whose name can be one, the required ones first."""
    variables = spec.template.interface.inputs.variables
    shown = defaults_of(spec)
    flags: set[str] = set()
    for index, name in enumerate(sorted(variables, key=lambda each: (each in shown, each))):
        if _FLAG_NAME.fullmatch(name) and name.replace("_", "-") not in flags:
            flags.add(name.replace("_", "-"))
            default = json.dumps(shown[name], ensure_ascii=False) if name in shown else None
            yield InputOption(name, variables[name], default, index=index)


def without_flags(spec: task_pb2.TaskSpec) -> list[str]:
    """Return the names of the inputs that only JSON can give."""
    have = {option.input_name for option in input_options(spec)}
    return sorted(spec.template.interface.inputs.variables.keys() - have)


def defaults_of(spec: task_pb2.TaskSpec) -> dict[str, Any]:
    """Return the defaults of the inputs that have one, plain."""
    literals = {
        name: parameter.default
        for name, parameter in spec.default_inputs.parameters.items()
        if parameter.HasField("default")
    }
    return literal_map_to_json(literals_pb2.LiteralMap(literals=literals), spec.template.interface.inputs, "inputs")


def read_value(text: str, literal_type: types_pb2.LiteralType) -> Any:
    """Return the plain value of a text, read as the flag of an input of that type would be.

    Raises:
        click.BadParameter: A file cannot be read.
    """
    inner = _without_none(literal_type)
    return _of_texts([text], inner) if _is_repeated(inner) else _of_text(text, inner)


def read_inputs_json(text: str) -> dict[str, Any]:
    """Return inputs by name from JSON: the text itself, `@file`, or `-` for standard input.

    Raises:
        click.BadParameter: It is no JSON object, or cannot be read.
    """
    hint = "'--inputs-json'"
    source = sys.stdin.read() if text == "-" else _read(text[1:], hint) if text.startswith("@") else text
    try:
        value = json.loads(source)
    except ValueError as error:
        raise click.BadParameter(f"is no JSON: {error}", param_hint=hint) from error
    if not isinstance(value, dict):
        raise click.BadParameter('is no JSON object of inputs by name, like {"a": 1}', param_hint=hint)
    return value


def _without_none(literal_type: types_pb2.LiteralType) -> types_pb2.LiteralType:
    """Return the one type that an optional value has if it is there, else the type itself."""
    variants = [each for each in literal_type.union_type.variants if not _is_none(each)]
    return variants[0] if len(variants) == 1 else literal_type


def _is_none(literal_type: types_pb2.LiteralType) -> bool:
    return literal_type.HasField("simple") and literal_type.simple == types_pb2.SIMPLE_TYPE_NONE


def _is_repeated(literal_type: types_pb2.LiteralType) -> bool:
    return literal_type.WhichOneof("type") in {"collection_type", "map_value_type"}


def _metavar(literal_type: types_pb2.LiteralType) -> str:
    match literal_type.WhichOneof("type"):
        case "enum_type":
            return f"[{'|'.join(literal_type.enum_type.values)}]"
        case "collection_type":
            return f"{_metavar(literal_type.collection_type)} ..."
        case "map_value_type":
            return f"KEY={_metavar(literal_type.map_value_type)} ..."
        case _:
            return describe_type(literal_type)


def _record_fields(literal_type: types_pb2.LiteralType) -> str:
    """Return what a record holds, if that is known."""
    fields = literal_type.structure.dataclass_type
    held = ", ".join(f"{name} {describe_type(field)}" for name, field in sorted(fields.items()))
    return f"A JSON object of {held}." if held else ""


def _of_texts(texts: Sequence[str], literal_type: types_pb2.LiteralType) -> Any:
    """Return the list or map of repeated flags, or of one flag with all of it as JSON."""
    if literal_type.HasField("collection_type"):
        if len(texts) == 1 and texts[0].lstrip().startswith("["):
            return _json(texts[0])
        return [_of_text(text, literal_type.collection_type) for text in texts]
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        return _json(texts[0])
    entries: dict[str, Any] = {}
    for text in texts:
        key, is_there, value = text.partition("=")
        if not is_there:
            raise click.BadParameter(f"'{text}' has no key and value: write KEY=VALUE, or all of it as a JSON object")
        entries[key] = _of_text(value, literal_type.map_value_type)
    return entries


def _of_text(text: str, literal_type: types_pb2.LiteralType) -> Any:
    literal_type = _without_none(literal_type)
    match literal_type.WhichOneof("type"):
        case "simple":
            reader = _READERS.get(literal_type.simple)
            return reader(text) if reader is not None else text
        case "enum_type":
            return text
        case "blob" | "structured_dataset_type" | "schema":
            return _json(text) if text.lstrip().startswith("{") else {"uri": text}
        case _:
            return _json(text)


def _json(text: str) -> Any:
    """Return what JSON says, and a text that is none as it is: where it does not fit, the conversion tells."""
    source = _read(text[1:]) if text.startswith("@") else text
    try:
        return json.loads(source)
    except ValueError:
        return source


def _integer(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return text


def _float(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _boolean(text: str) -> Any:
    lowered = text.lower()
    return lowered in _TRUE if lowered in _TRUE | _FALSE else text


def _bytes(text: str) -> Any:
    """Return base64: of a file after `@`, else the text, which is base64 already, or an object that has a tag too."""
    if text.startswith("@"):
        return base64.b64encode(_file(text[1:]).read_bytes()).decode()
    return _json(text) if text.startswith("{") else text


_READERS: Mapping[int, Callable[[str], Any]] = {
    types_pb2.SIMPLE_TYPE_INTEGER: _integer,
    types_pb2.SIMPLE_TYPE_FLOAT: _float,
    types_pb2.SIMPLE_TYPE_BOOLEAN: _boolean,
    types_pb2.SIMPLE_TYPE_BINARY: _bytes,
    types_pb2.SIMPLE_TYPE_STRUCT: _json,
    types_pb2.SIMPLE_TYPE_ERROR: _json,
    types_pb2.SIMPLE_TYPE_NONE: _json,
}


def _file(name: str, hint: str | None = None) -> Path:
    path = Path(name)
    if not path.is_file():
        raise click.BadParameter(f"there is no file {name}", param_hint=hint)
    return path


def _read(name: str, hint: str | None = None) -> str:
    try:
        return _file(name, hint).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{name} cannot be read: {error}", param_hint=hint) from error
