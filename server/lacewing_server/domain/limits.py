"""Every bound the server enforces, in one place; the protos and the errors state the same numbers."""

from __future__ import annotations

from typing import Final

LABEL_MAX: Final = 63
"""Characters of a project, a domain, a queue, an execution name (a DNS-1123 label)."""

TASK_NAME_MAX: Final = 255
"""Characters of a task name."""

TASK_NAME_RECOMMENDED: Final = 32
"""Characters of a task name beyond which registration warns."""

VERSION_MAX: Final = 255
"""Characters of a version."""

REQUEST_ID_MAX: Final = 128
"""Characters of a request id."""

WORKER_NAME_MAX: Final = 128
"""Characters of a worker's name."""

DESCRIPTION_MAX: Final = 4_096
"""Characters of a task's description."""

REASON_MAX: Final = 1_024
"""Characters of the reason of a cancellation."""

LABELS_MAX: Final = 32
"""Labels of one execution or worker."""

LABEL_KEY_MAX: Final = 63
"""Characters of a label's key."""

LABEL_VALUE_MAX: Final = 255
"""Characters of a label's value."""

RETRIES_MAX: Final = 1_000
"""Retries of one task, and losses that it bears: each of them is kept, with its error and its log."""

CODES_MAX: Final = 64
"""Non-retryable codes of one task; task types or queues of one offer."""

OFFER_NAMES_MAX: Final = 10_000
"""Task names or patterns of one offer."""

SPEC_MAX_BYTES: Final = 1 << 20
"""Bytes of one serialized task spec."""

INPUTS_MAX_BYTES: Final = 8 << 20
"""Bytes of the serialized inputs of one execution."""

OUTPUTS_MAX_BYTES: Final = 8 << 20
"""Bytes of the serialized outputs of one attempt."""

BLOB_CHUNK_MAX_BYTES: Final = 4 << 20
"""Bytes of one chunk of an upload."""

BLOB_DIRECTORY_MAX_BYTES: Final = 16 << 20
"""Bytes of one serialized directory of files."""

MESSAGE_MAX_BYTES: Final = 32 << 20
"""Bytes of one gRPC message; beyond it the transport itself refuses."""

BATCH_MAX_BYTES: Final = 4 << 20
"""Bytes of values after which a message takes no further item; the first one is always taken."""

ERROR_CODE_MAX: Final = 128
"""Characters of a task error's code; longer ones are cut."""

ERROR_MESSAGE_MAX: Final = 8 << 10
"""Characters of a task error's message; longer ones are cut at the end."""

STACK_TRACE_MAX: Final = 32 << 10
"""Characters of a stack trace; longer ones are cut at the front."""

LOG_TAIL_MAX: Final = 16 << 10
"""Characters of an attempt's log; longer ones are cut at the front."""

CAUSES_MAX: Final = 8
"""Errors in one chain of causes."""

PROGRESS_MESSAGE_MAX: Final = 256
"""Characters of a progress message; longer ones are cut."""

STREAM_ITEMS_MAX: Final = 1_000
"""Items of one message of ``ExecuteStream``, leases or completions of one unary worker call."""

CREDIT_MAX: Final = 10_000
"""Leases one message of a worker may ask for."""

PAGE_SIZE_DEFAULT: Final = 50
"""Items of a page when the request does not say."""

PAGE_SIZE_MAX: Final = 500
"""Items of a page at most; larger requests get this many."""

VIOLATIONS_MAX: Final = 20
"""Field violations that one error lists; more are counted."""

REFUSAL_MESSAGE_MAX: Final = 1_024
"""Characters of a refusal's message; longer ones are cut."""

REFUSAL_DETAILS_MAX_BYTES: Final = 4 << 10
"""Bytes of all details of one refusal; texts that do not fit are cut, violations that do not fit are counted."""

DURATION_MAX_SECONDS: Final = 10 * 366 * 24 * 3600
"""The longest duration in a policy: ten years."""

CACHE_ENTRY_OVERHEAD_BYTES: Final = 400
"""What a cache entry counts for the bound of its project beyond its own bytes: about what its keys and indexes take."""

CACHE_TOUCH_SECONDS: Final = 60
"""How exactly it is known when a cache entry was last used."""

PRIORITY_HEAD_START_SECONDS: Final = 600
"""How much earlier an execution of high priority counts as queued, and one of low priority later."""

RATE_COUNT_MAX: Final = 1_000_000
"""Attempts that a rate limit lets start in its period."""

RATE_PERIOD_MAX_SECONDS: Final = 24 * 3600
"""The longest period of a rate limit."""

INLINE_INPUTS_BYTES: Final = 16 << 10
"""Inputs up to this size live in the execution's record; larger ones in a key that no transition rewrites."""

GRAPH_DEPTH_MAX: Final = 16
"""How deep graphs may be in each other."""

ARRAY_ELEMENTS_MAX: Final = 100_000
"""Elements of one array node."""

GRAPH_MAX_BYTES: Final = 8 << 20
"""Bytes of one serialized graph, with what it brings along."""

GRAPH_NODES_MAX: Final = 100_000
"""Nodes of one graph, those inside of branches included."""

GRAPH_TASKS_MAX: Final = 1_000
"""Tasks and workflows that one graph brings along."""

NODE_ID_MAX: Final = 128
"""Characters of the id of a node, and of the name by which a gate is answered."""

OPENED_MAX_BYTES: Final = 64 << 20
"""Bytes of a value kept as a blob that a graph looks into, to map a task over it or to take a part of it."""

LARGE_BYTES: Final = 64 << 10
"""Bytes of a spec or graph from which on it is checked and compiled beside the loop, which goes on meanwhile."""
