"""`lacewing workers`."""

from __future__ import annotations

import click

from lacewing.cli._client import with_client
from lacewing.cli._messages import age_text
from lacewing.cli.options import common_options, settings
from lacewing.cli.output import document, print_json, print_table, say
from lacewing.client import Client
from lacewing.v1 import worker_service_pb2


@common_options
@click.command()
@with_client
async def workers(client: Client) -> None:
    """List the workers that are connected. One that came or went a moment ago may be missing or left."""
    found = [worker async for worker in client.workers()]
    if settings().is_json:
        print_json([document(worker) for worker in found])
        return
    rows = [
        (
            worker.worker,
            "draining" if worker.draining else "ready",
            f"{worker.lease_count} of {worker.lease_count + worker.credit}",
            _offer(worker.offer),
            ",".join(worker.offer.queues) or "default",
            age_text(worker.connect_time),
            worker.sdk,
        )
        for worker in found
    ]
    if not print_table(("WORKER", "STATE", "BUSY", "TASKS", "QUEUES", "CONNECTED", "SDK"), rows):
        say("No workers. Start one: lacewing worker MODULE")


def _offer(offer: worker_service_pb2.Offer) -> str:
    if not offer.task_names:
        return "any of " + ",".join(offer.task_types)
    shown = list(offer.task_names[:3])
    more = len(offer.task_names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
