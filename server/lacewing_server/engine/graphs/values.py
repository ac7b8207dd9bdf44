"""The outputs of the nodes of one graph, for those that are bound to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from lacewing.v1 import bindings_pb2, interface_pb2, literals_pb2, workflow_pb2
from lacewing_server.domain.graph.bindings import promises_of, resolve
from lacewing_server.domain.graph.plan import Plan
from lacewing_server.engine.blobs import Blobs
from lacewing_server.engine.graphs.children import Children

_KEPT_MAX_BYTES: Final = 16 << 20
"""Bytes of outputs of one graph that are kept in memory; what is over is read again where it is needed."""
_INPUTS: Final = frozenset({"", "start-node"})


class Values:
    """What nodes have given."""

    def __init__(self, plan: Plan, inputs: literals_pb2.LiteralMap, children: Children, blobs: Blobs) -> None:
        self._plan = plan
        self._inputs = inputs
        self._children = children
        self._blobs = blobs
        self._kept: dict[int, literals_pb2.LiteralMap] = {}
        self._elsewhere: dict[int, bytes] = {}
        """Of a node whose outputs are not kept, the execution that has them."""
        self._choices: dict[int, int] = {}
        """Of a branch, the node whose outputs are its own."""
        self._bytes = 0

    def put(self, index: int, outputs: literals_pb2.LiteralMap, size: int, execution_id: bytes | None) -> None:
        """Takes the outputs of a node; without an execution that has them too, they are kept in any case."""
        if execution_id is None or self._bytes + size <= _KEPT_MAX_BYTES:
            self._bytes += size
            self._kept[index] = outputs
        else:
            self._elsewhere[index] = execution_id

    def put_choice(self, branch: int, inner: int) -> None:
        """The outputs of a branch are those of the node it chose."""
        self._choices[branch] = inner

    async def resolved(
        self, bindings: Iterable[bindings_pb2.Binding], variables: Mapping[str, interface_pb2.Variable]
    ) -> literals_pb2.LiteralMap:
        """The values that variables are bound to.

        Raises:
            BindingError: A way into a value leads nowhere, or a value does not fit.
            DomainError: That of the store, or of the blobs.
        """
        bindings = list(bindings)
        outputs: dict[str, literals_pb2.LiteralMap] = {}
        opened: dict[tuple[str, str], literals_pb2.Literal] = {}
        """Those that a way leads into."""
        for promise in promises_of(bindings):
            node_id = promise.node_id
            if node_id not in outputs:
                is_input = node_id in _INPUTS
                outputs[node_id] = self._inputs if is_input else await self._outputs(self._plan.by_id[node_id])
            if promise.attr_path:
                opened[node_id, promise.var] = await self._blobs.opened(outputs[node_id].literals[promise.var])

        def give(node_id: str, name: str) -> literals_pb2.Literal:
            whole = opened.get((node_id, name)) if opened else None
            return outputs[node_id].literals[name] if whole is None else whole

        return resolve(bindings, variables, give)

    async def opened(self, inputs: literals_pb2.LiteralMap, names: Iterable[str]) -> literals_pb2.LiteralMap:
        """The same values, those with these names not as references to where they are kept."""
        offloaded = [name for name in names if inputs.literals[name].HasField("offloaded_metadata")]
        if not offloaded:
            return inputs
        opened = literals_pb2.LiteralMap()
        opened.CopyFrom(inputs)
        for name in offloaded:
            opened.literals[name].CopyFrom(await self._blobs.opened(inputs.literals[name]))
        return opened

    async def _outputs(self, index: int) -> literals_pb2.LiteralMap:
        node = self._plan.nodes[index].node
        if (kept := self._kept.get(index)) is not None:
            return _renamed(kept, node)
        if (inner := self._choices.get(index)) is not None:
            return _renamed(await self._outputs(inner), node)
        execution_id = self._elsewhere[index]
        record = (await self._children.read([execution_id]))[execution_id]
        outputs = literals_pb2.LiteralMap.FromString(record.outcome if record is not None else b"")
        return _renamed(outputs, node)


def _renamed(outputs: literals_pb2.LiteralMap, node: workflow_pb2.Node) -> literals_pb2.LiteralMap:
    """The outputs under the names that the node gives them."""
    if not node.output_aliases:
        return outputs
    aliases = {alias.var: alias.alias for alias in node.output_aliases}
    renamed = literals_pb2.LiteralMap()
    for name, literal in outputs.literals.items():
        renamed.literals[aliases.get(name, name)].CopyFrom(literal)
    return renamed
