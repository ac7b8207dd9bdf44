"""What bindings come to."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from graph.service import Json, bound, number, promise
from lacewing.types import literal_map_to_json
from lacewing.v1 import bindings_pb2, interface_pb2, literals_pb2
from lacewing_server.domain.graph.bindings import BindingError, promises_of, resolve
from type_strategies import list_of, map_of, primitive, simple

INTEGER = simple("INTEGER")
LISTED = literals_pb2.Literal(
    collection=literals_pb2.LiteralCollection(literals=[primitive(integer=7), primitive(integer=8)])
)


def bindings(**given: Json) -> list[bindings_pb2.Binding]:
    """Bindings of variables."""
    return [json_format.ParseDict(each, bindings_pb2.Binding()) for each in bound(**given)]


def give(node_id: str, var: str) -> literals_pb2.Literal:
    """The graph's inputs are 1, the output ``list`` of a node is [7, 8], any other 2."""
    if var == "list":
        return LISTED
    return primitive(integer=1 if node_id in {"", "start-node"} else 2)


def test_promises_are_replaced_wherever_they_are() -> None:
    """In lists and maps beside constants, and by the parts that they lead to."""
    part = promise("a", "list")
    part["promise"]["attr_path"] = [{"int_value": 1}]
    given = bindings(
        n=promise("start-node", "n"),
        ns={"collection": {"bindings": [number(5), promise("a"), part]}},
        m={"map": {"bindings": {"x": promise("a", "list")}}},
    )
    variables = interface_pb2.VariableMap(
        variables={
            "n": interface_pb2.Variable(type=INTEGER),
            "ns": interface_pb2.Variable(type=list_of(INTEGER)),
            "m": interface_pb2.Variable(type=map_of(list_of(INTEGER))),
        }
    )
    resolved = resolve(given, variables.variables, give)
    assert literal_map_to_json(resolved, variables) == {"n": 1, "ns": [5, 2, 8], "m": {"x": [7, 8]}}
    assert [(each.node_id, each.var) for each in promises_of(given)] == [
        ("start-node", "n"),
        ("a", "o0"),
        ("a", "list"),
        ("a", "list"),
    ]


def test_a_way_that_leads_nowhere_is_told_with_its_place() -> None:
    """Of the binding, not of the value it is in."""
    part = promise("a", "list")
    part["promise"]["attr_path"] = [{"int_value": 2}]
    with pytest.raises(BindingError, match="no element 2 in a list of 2") as raised:
        resolve(bindings(ns={"collection": {"bindings": [number(5), part]}}), {}, give)
    assert raised.value.path == "ns[1]"


def test_what_a_way_leads_to_must_fit() -> None:
    """Its type may not have been known before."""
    part = promise("a", "list")
    part["promise"]["attr_path"] = [{"int_value": 0}]
    with pytest.raises(BindingError, match="expected STRING"):
        resolve(bindings(s=part), {"s": interface_pb2.Variable(type=simple("STRING"))}, give)
