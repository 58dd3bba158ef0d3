"""The rules of accounts, put together: they share a registry of users, a secret and who is told."""

from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.domain.accounts import Accounts, Passwords
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.departures import Departures
from tidings.domain.device_lists import DeviceLists
from tidings.domain.devices import Devices
from tidings.domain.exports import Exports
from tidings.domain.factors import Factors
from tidings.domain.handles import Handles
from tidings.domain.invites import Invites
from tidings.domain.keys import Keys
from tidings.domain.list_changes import ListChanges
from tidings.domain.log import Log
from tidings.domain.notices import Audit, Changed, Notices
from tidings.domain.peers import Peers
from tidings.domain.phones import Phones
from tidings.domain.prekeys import Prekeys
from tidings.domain.proofs import Proofs
from tidings.domain.router import Router
from tidings.domain.server_secret import ServerSecret
from tidings.domain.settings import Settings
from tidings.domain.tokens import Random
from tidings.domain.users import Users
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import SettingKind
from tidings.protocol.ids import UserId
from tidings.server.config import Config
from tidings.server.phone_hooks import open_hook
from tidings.store.contract import Store


class AccountRules(NamedTuple):
    """One node's rules of accounts."""

    accounts: Accounts
    devices: Devices
    factors: Factors
    invites: Invites
    phones: Phones
    departures: Departures
    exports: Exports
    keys: Keys
    prekeys: Prekeys
    lists: DeviceLists
    list_changes: ListChanges


def account_rules(
    config: Config,
    store: Store,
    commit: GroupCommit,
    clock: Clock,
    ids: IdClock,
    passwords: Passwords,
    random: Random,
    router: Router,
    settings: Settings,
    audit: Audit,
    log: FilteringBoundLogger,
    users: Users,
    peers: Peers,
) -> AccountRules:
    """Build them. Raises ConfigError for a phone hook that cannot be."""
    limits = config.limits
    notices = Notices(_teller(settings, ids, log), audit)
    secret = ServerSecret(store, commit, ids, random, peers)
    handles = Handles(store, users, clock, random, limits)
    lists = DeviceLists(store, commit, ids, limits, peers, clock.monotonic_s)
    prekeys = Prekeys(store, commit, ids, random, limits)
    devices = Devices(
        store, commit, clock, ids, users, secret, lists, prekeys, router, random, notices, limits, peers
    )
    factors = Factors(store, commit, clock, ids, users, random, notices, limits)
    invites = Invites(store, clock, random)
    proofs = Proofs(users, passwords, factors, secret, limits)
    accounts = Accounts(
        store,
        commit,
        clock,
        ids,
        users,
        handles,
        devices,
        factors,
        invites,
        proofs,
        router,
        notices,
        limits,
        config.registration,
    )
    hook = open_hook(config.phone_hook, log)
    phones = Phones(store, commit, clock, ids, users, secret, hook, random, notices, limits)
    departures = Departures(
        commit, ids, users, handles, devices, factors, phones, proofs, lists, router, notices
    )
    exports = Exports(store, clock, ids, accounts, devices, Log(store))
    keys = Keys(store, commit, ids, users, prekeys, notices, limits)
    list_changes = ListChanges(store, users, devices, lists, proofs, random, notices, limits, peers)
    return AccountRules(
        accounts,
        devices,
        factors,
        invites,
        phones,
        departures,
        exports,
        keys,
        prekeys,
        lists,
        list_changes,
    )


def _teller(settings: Settings, ids: IdClock, log: FilteringBoundLogger) -> Changed:
    async def changed(user_id: UserId, key: str) -> None:
        """The user's devices ask again. That they are not told must not make what is done fail."""
        try:
            await settings.write(user_id, SettingKind.ACCOUNT, key, str(ids.next()).encode())
        except ProtocolError as error:
            log.warning("devices were not told of a change", key=key, reason=error.kind.name)

    return changed
