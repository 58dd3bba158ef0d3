"""What the driver says, as what a Store may raise, with a sentence on what to do about it."""

import re

from tidings.store.cassandra.config import CassandraConfig
from tidings.store.contract import OutcomeUnknown, StoreError, StoreFull, StoreUnavailable

# By the names of their classes: the driver need not be there to be spoken of.
_NOTHING_DONE = {
    "CassErrorLibNoHostsAvailable": "no node of the cluster answers",
    "CassErrorLibUnableToConnect": "no node of the cluster answers",
    "CassErrorLibHostResolution": "a contact point's name is unknown",
    "CassErrorLibRequestQueueFull": "more requests wait for the cluster than the driver takes",
    "CassErrorLibNoStreams": "more requests wait for the cluster than its connections take",
    "CassErrorServerUnavailable": "too few nodes of the cluster are up for the consistency that is wanted",
    "CassErrorServerIsBootstrapping": "the node that was asked is still starting",
    "CassErrorServerBadCredentials": "the cluster does not know this user and password",
    "CassErrorServerUnauthorized": "the cluster's user may not do this",
    "CassErrorServerInvalidQuery": "the cluster refuses a statement",
    "CassErrorServerSyntaxError": "the cluster does not understand a statement",
}
_PERHAPS_DONE = {"CassErrorServerUnavailable"}
"""may also be said of the last step of a compare-and-set that was decided"""
_HINTS = {
    "CassErrorLibNoHostsAvailable": "hint: are its nodes up, and do contact_points, port and tls fit them?",
    "CassErrorServerUnavailable": "hint: nodetool status shows who is down; a quorum must be up",
    "CassErrorServerBadCredentials": "hint: set user and password",
    "CassErrorServerUnauthorized": "hint: docs/operating/cassandra.md has what to grant",
}
_FULL = re.compile(r"disk (usage|utilization)|no space left|disk (is )?full", re.IGNORECASE)
_FUTURE = re.compile(r"timestamp.*(future|maximum)|maximum.*timestamp", re.IGNORECASE | re.DOTALL)


def refusal(error: Exception, config: CassandraConfig, *, conditional: bool = False) -> StoreError:
    """The StoreError for what a request raised."""
    name, said = type(error).__name__, str(error).strip().rstrip(":") or "no answer in time"
    where = f"the store at {', '.join(config.contact_points)}:{config.port}"
    if _FULL.search(said):
        return StoreFull(f"{where} has no room: {said}")
    if _FUTURE.search(said):
        return StoreUnavailable(
            f"{where} refuses timestamps: {said}\n"
            "hint: set restrict_future_timestamp: false in scylla.yaml; "
            "no maximum_timestamp_… in cassandra.yaml"
        )
    what = _NOTHING_DONE.get(name)
    if conditional and (what is None or name in _PERHAPS_DONE):
        return OutcomeUnknown(f"{where} did not say what became of a compare-and-set: {said}")
    text = f"{where} failed: {what} ({said})" if what else f"{where} failed: {said}"
    hint = _HINTS.get(name)
    return StoreUnavailable(f"{text}\n{hint}" if hint else text)
