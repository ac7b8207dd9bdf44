"""The log of the process: to standard error, as text for people or as JSON for collectors."""

from __future__ import annotations

import json
import logging
import time
from typing import Final

from lacewing_server.settings import Settings

_GRPC_CORE: Final = "grpc._cython.cygrpc"


def set_up_logging(settings: Settings) -> None:
    """Sends the process's log to its standard error, in the format and from the level that the settings name."""
    handler = logging.StreamHandler()
    handler.addFilter(_is_news)
    if settings.log_format == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the record says something: gRPC reports a caller that left before its answer was sent as a fault.

    That a caller goes away is nobody's fault here, and what it had asked for is done; the trace of gRPC's own frames
    would only frighten whoever reads the log.
    """
    return not (record.name == _GRPC_CORE and record.getMessage().startswith("ExecuteBatchError raised in core"))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)
