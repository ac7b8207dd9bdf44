"""The elements of array nodes: what each is given, and what all together give. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lacewing.v1 import literals_pb2, workflow_pb2
from lacewing_server.domain import limits
from lacewing_server.domain.graph.run import SUCCEEDED, Elements


class ArrayError(Exception):
    """An array cannot be run: its lists are not equally long, or too long."""


def needed_of(node: workflow_pb2.ArrayNode, width: int) -> int:
    """How many of so many elements have to succeed."""
    criteria = node.WhichOneof("success_criteria")
    if criteria == "min_successes":
        return min(node.min_successes, width)
    if criteria == "min_success_ratio":
        # The ratio is a float of 32 bits: 0.1 of ten elements is one, although it is a little more.
        return math.ceil(round(node.min_success_ratio * width, 4))
    return width


class Array:
    """An array node that runs."""

    def __init__(self, node: workflow_pb2.ArrayNode, inputs: literals_pb2.LiteralMap) -> None:
        """Takes the inputs of the node apart.

        Raises:
            ArrayError: They cannot be.
        """
        bound = set(node.bound_inputs)
        self._whole = literals_pb2.LiteralMap()
        self._lists: dict[str, literals_pb2.LiteralCollection] = {}
        for name, literal in inputs.literals.items():
            if name not in bound and literal.HasField("collection"):
                self._lists[name] = literal.collection
            else:
                self._whole.literals[name].CopyFrom(literal)
        self._inputs = inputs  # keeps the lists alive
        widths = {name: len(each.literals) for name, each in self._lists.items()}
        if len(set(widths.values())) > 1:
            shown = ", ".join(f"{name} has {width}" for name, width in sorted(widths.items()))
            raise ArrayError(f"its lists must be equally long: {shown} elements")
        self.width = next(iter(widths.values()), 1)
        if self.width > limits.ARRAY_ELEMENTS_MAX:
            raise ArrayError(f"its lists have {self.width} elements, {limits.ARRAY_ELEMENTS_MAX} are allowed")
        self.elements = Elements(
            self.width,
            needed=needed_of(node, self.width),
            parallelism=node.parallelism,
            runs_all=node.run_all_sub_nodes,
        )
        self.outputs: list[literals_pb2.LiteralMap | None] = [None] * self.width
        self.why_lost = ""
        """Says, for a person, why the array fails; '' as long as it may succeed."""
        self.is_given_up = False
        """Whether what runs of it is being cancelled."""

    def end(self, element: int, state: int, outputs: literals_pb2.LiteralMap | None) -> None:
        """Ends an element."""
        elements = self.elements
        elements.end(element, state)
        self.outputs[element] = outputs
        if elements.is_lost and not self.why_lost:
            self.why_lost = f"{elements.failed} of {elements.width} elements failed, {elements.needed} must succeed"

    def inputs_of(self, element: int) -> literals_pb2.LiteralMap:
        """What an element is given."""
        inputs = literals_pb2.LiteralMap()
        inputs.CopyFrom(self._whole)
        for name, each in self._lists.items():
            inputs.literals[name].CopyFrom(each.literals[element])
        return inputs

    def gathered(self, names: Iterable[str]) -> literals_pb2.LiteralMap:
        """What all together give: a list for each output, with nothing in place of an element that did not succeed."""
        gathered = literals_pb2.LiteralMap()
        for name in names:
            collection = gathered.literals[name].collection
            collection.SetInParent()
            for element, outputs in enumerate(self.outputs):
                literal = collection.literals.add()
                if outputs is not None and self.elements.states[element] == SUCCEEDED and name in outputs.literals:
                    literal.CopyFrom(outputs.literals[name])
                else:
                    literal.scalar.none_type.SetInParent()
        return gathered
