"""Connections: who is found, who is expelled, who shares a device's rates."""

from random import Random

from tidings.protocol.close import CloseCode
from tidings.protocol.frames import Frame
from tidings.protocol.ids import DeviceId, UserId
from tidings.protocol.limits import Limits, Rate
from tidings.server.connections import Connections
from tidings.server.rate import Buckets, DeviceRates, RateClass

ALICE, BOB = UserId(101 << 22), UserId(202 << 22)
PHONE, LAPTOP, BOBS = DeviceId(11), DeviceId(12), DeviceId(21)
LIMITS = Limits(send_rate=Rate(per_s=1, burst=3), lookup_rate=Rate(per_s=1, burst=2))


class Session:
    """Implements `connections.Receiver`."""

    def __init__(self, device_id: DeviceId) -> None:
        self.device_id = device_id
        self.buckets: Buckets = []
        self.closed: CloseCode | None = None
        self.told: list[Frame] = []

    def close(self, code: CloseCode, reason: str = "") -> None:
        self.closed = code

    def replace(self) -> None:
        self.close(CloseCode.REPLACED)

    def tell(self, frame: Frame) -> None:
        self.told.append(frame)

    def offer(self, entry: object) -> None: ...

    def fail(self, bug: Exception) -> None: ...

    def sweep(self, now_s: float) -> None: ...


class Attendance:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, UserId]] = []
        self.heard_of: list[DeviceId] = []
        self.unwatched: list[object] = []

    def came(self, user: UserId) -> None:
        self.events.append(("came", user))

    def went(self, user: UserId) -> None:
        self.events.append(("went", user))

    def heard(self, user: UserId, device: DeviceId) -> None:
        self.heard_of.append(device)

    def unwatch(self, session: object) -> None:
        self.unwatched.append(session)


class Rig:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.rates = DeviceRates(LIMITS)
        self.connections = Connections(Random(1), self.rates, lambda: self.now_s)
        self.attendance = self.connections.attendance = Attendance()

    def receive(self, user: UserId, device: DeviceId) -> Session:
        session = Session(device)
        self.connections.opened(session)
        self.connections.register(user, session)
        return session

    def stay_aside(self, user: UserId, device: DeviceId) -> Session:
        session = Session(device)
        self.connections.opened(session)
        self.connections.joined(user, session)
        return session

    def end(self, user: UserId, session: Session) -> None:
        self.connections.unregister(user, session)
        self.connections.left(user, session)
        self.connections.closed(session)

    def send(self, session: Session, rate: RateClass = RateClass.SEND) -> bool:
        bucket = session.buckets[rate]
        if bucket is None:
            bucket = session.buckets[rate] = self.rates.bucket(rate, self.now_s)
        return bucket.take(self.now_s) == 0.0


def test_expelling_a_device_ends_all_its_sessions_and_no_other() -> None:
    rig = Rig()
    phone, side = rig.receive(ALICE, PHONE), rig.stay_aside(ALICE, PHONE)
    others = [rig.receive(ALICE, LAPTOP), rig.stay_aside(ALICE, LAPTOP), rig.receive(BOB, BOBS)]
    rig.connections.expel(ALICE, PHONE)
    assert [phone.closed, side.closed] == [CloseCode.NOT_ALLOWED] * 2
    assert [other.closed for other in others] == [None] * 3
    assert rig.connections.sessions(ALICE) == tuple(others[:2])


def test_expelling_a_user_ends_all_sessions_and_writes_nothing_of_them_any_more() -> None:
    rig = Rig()
    sessions = [rig.receive(ALICE, PHONE), rig.receive(ALICE, LAPTOP), rig.stay_aside(ALICE, PHONE)]
    rig.attendance.heard_of.clear()
    before = rig.connections.expulsions
    rig.connections.expel(ALICE)
    for session in sessions:
        rig.end(ALICE, session)
    assert [session.closed for session in sessions] == [CloseCode.NOT_ALLOWED] * 3
    assert rig.attendance.heard_of == []
    assert rig.attendance.events == [("came", ALICE), ("went", ALICE)]
    assert rig.connections.sessions(ALICE) == ()
    assert rig.connections.expulsions == before + 1


def test_expelling_nobody_is_no_error() -> None:
    Rig().connections.expel(ALICE)


def test_a_user_comes_with_the_first_receiving_session_and_goes_with_the_last() -> None:
    rig = Rig()
    side = rig.stay_aside(ALICE, PHONE)
    assert rig.attendance.events == []
    assert not rig.connections.is_online(ALICE)
    phone, laptop = rig.receive(ALICE, PHONE), rig.receive(ALICE, LAPTOP)
    assert rig.connections.is_online(ALICE)
    again = rig.receive(ALICE, PHONE)
    assert phone.closed == CloseCode.REPLACED
    rig.end(ALICE, phone)
    rig.end(ALICE, laptop)
    rig.end(ALICE, side)
    assert rig.attendance.events == [("came", ALICE)]
    rig.end(ALICE, again)
    rig.end(ALICE, again)
    assert rig.attendance.events == [("came", ALICE), ("went", ALICE)]
    assert rig.connections.sessions_open == rig.connections.users_online == 0


def test_every_device_is_in_one_share() -> None:
    rig = Rig()
    rig.receive(ALICE, PHONE)
    rig.receive(ALICE, LAPTOP)
    rig.receive(BOB, BOBS)
    found = [device for share in range(30) for _, device in rig.connections.devices_online(share, 30)]
    assert sorted(found) == [PHONE, LAPTOP, BOBS]


def test_connections_of_a_device_share_its_rate_and_devices_do_not() -> None:
    rig = Rig()
    phone, side, laptop = rig.receive(ALICE, PHONE), rig.stay_aside(ALICE, PHONE), rig.receive(ALICE, LAPTOP)
    assert [rig.send(phone), rig.send(side), rig.send(phone), rig.send(side)] == [True, True, True, False]
    assert rig.send(laptop)
    again = rig.receive(ALICE, PHONE)
    assert not rig.send(again)


def test_coming_back_fills_no_bucket_before_its_time() -> None:
    rig = Rig()
    phone = rig.receive(ALICE, PHONE)
    assert [rig.send(phone) for _ in range(4)] == [True, True, True, False]
    rig.end(ALICE, phone)
    phone = rig.receive(ALICE, PHONE)
    assert not rig.send(phone)
    rig.end(ALICE, phone)
    rig.now_s += 3
    assert rig.send(rig.receive(ALICE, PHONE))


def test_other_limits_of_rates_count_at_once() -> None:
    rig = Rig()
    phone = rig.receive(ALICE, PHONE)
    while rig.send(phone):
        pass
    rig.connections.rates_changed()
    assert rig.send(phone)
