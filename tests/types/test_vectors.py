from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from lacewing.types import assignable, explain_mismatch
from lacewing.v1 import types_pb2

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "assignable.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_assignable(vector: dict[str, Any]) -> None:
    """Whether each pair of types fits is as published, and what does not fit says why."""
    upstream = json_format.ParseDict(vector["from"], types_pb2.LiteralType())
    downstream = json_format.ParseDict(vector["to"], types_pb2.LiteralType())
    assert assignable(upstream, downstream) == vector["assignable"]
    assert explain_mismatch(upstream, downstream) == vector["reason"]
