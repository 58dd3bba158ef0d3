"""The login secret: made the same everywhere, and never weaker than a floor; and a token that is renewed."""

from pathlib import Path

import msgspec
import pytest

from client.rig import People
from tidings.client import Client, ClientError, Refused
from tidings.client.http import Server, ask
from tidings.client.login_secret import check_password, derive, new_kdf, secret_for
from tidings.client.profile import Profile
from tidings.protocol.api import Kdf, LoggedIn, NewAccount

SALT = "AAECAwQFBgcICQoLDA0ODw=="
KDF = Kdf(SALT, memory_kib=16 * 1024, passes=1)


async def test_it_is_made_as_the_specification_says() -> None:
    assert await derive("correct horse", KDF) == await derive("correct horse", KDF)
    assert await derive("Grüße", KDF) == await derive("Gru\u0308ße", KDF)
    assert len(msgspec.json.decode(f'"{await derive("correct horse", KDF)}"', type=bytes)) == 32


async def test_another_salt_or_password_is_another_secret() -> None:
    secrets = {
        await derive("correct horse", KDF),
        await derive("correct house", KDF),
        await derive("correct horse", Kdf("//////////////////////8=", KDF.memory_kib, KDF.passes)),
    }
    assert len(secrets) == 3


@pytest.mark.parametrize(
    "kdf",
    [
        Kdf(SALT, memory_kib=1024),
        Kdf(SALT, passes=0),
        Kdf(SALT, lanes=0),
        Kdf(SALT, memory_kib=1 << 30),
        Kdf("AAEC"),
        Kdf("not base64!"),
    ],
    ids=str,
)
async def test_a_server_that_asks_for_too_little_or_too_much_is_refused(kdf: Kdf) -> None:
    with pytest.raises(ClientError, match="cannot log in"):
        await derive("correct horse", kdf)


async def test_the_password_itself_goes_only_to_who_is_trusted_with_it() -> None:
    with pytest.raises(ClientError, match="wants to see the password") as refused:
        await secret_for("correct horse", None, plain_password=False)
    assert "--plain-password" in str(refused.value.hint)
    assert await secret_for("correct horse", None, plain_password=True) == "correct horse"


def test_a_short_password_is_refused_before_any_server_sees_its_secret() -> None:
    with pytest.raises(Refused, match="at least 8"):
        check_password("short")


def test_each_account_has_its_own_salt() -> None:
    assert new_kdf(bytes).salt == new_kdf(bytes).salt  # all zero: it is the entropy that makes it
    assert new_kdf(lambda count: b"\1" * count) != new_kdf(bytes)


async def test_an_account_of_a_simple_client_can_be_logged_in_to_if_wanted(
    people: People, tmp_path: Path
) -> None:
    handle = people.handle("simple")
    simple = NewAccount(handle, "a plain password")
    await ask(Server.at(people.server.url), "POST", "/v1/accounts", LoggedIn, simple)
    arguments = {"handle": handle, "password": "a plain password", "profile": tmp_path / "simple"}
    with pytest.raises(ClientError, match="wants to see the password"):
        await Client.login(people.server.url, **arguments)
    account = await Client.login(people.server.url, **arguments, plain_password=True)
    assert account.handle == handle


async def test_a_wrong_password_is_told_as_one(people: People, tmp_path: Path) -> None:
    await people.register("alice")
    with pytest.raises(Refused, match="no account has this handle"):
        await Client.login(
            people.server.url,
            handle=people.handle("alice"),
            password="another password",
            profile=tmp_path / "other",
        )


async def test_an_account_file_replaces_the_old_one_whole(people: People) -> None:
    path = await people.register("bob")
    profile = Profile(path)
    account = profile.account()
    profile.replace(msgspec.structs.replace(account, handle="another"))
    assert profile.account().handle == "another"
    assert (path / "account.json").stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in path.iterdir() if entry.name.startswith("account")) == [
        "account.json"
    ]
