"""What a user can do about what the server refused, by the error's name (spec §8).

An error that brings a hint of its own knows more. Those not named here are nobody's to mend by hand.
"""

from tidings.client.errors import ClientError, Refused

_ADMINISTRATOR = "ask who runs the server"

HINTS = {
    "unauthenticated": "make a new profile with: tidings login",
    "invalid": "how much may be asked for is in docs/reference/limits.md",
    "too_large": "make it shorter, or remove what is not needed any more",
    "no_such_conversation": "see where you are with: tidings chats list, tidings group list",
    "no_such_user": "check the spelling; a handle is written like @bob, a phone number like +4930123456",
    "handle_taken": "choose another one",
    "bad_handle": "choose another one",
    "bad_password": "choose another one",
    "wrong_credentials": "check the spelling of both",
    "too_many_devices": "sign one out: tidings devices list, then tidings devices sign-out",
    "no_such_message": "see the message ids with: tidings history PEER --ids",
    "not_yours": "to remove it from your own devices only: tidings message hide",
    "too_late": "to remove it from your own devices only: tidings message hide",
    "registration_closed": _ADMINISTRATOR,
    "bad_invite": "ask for another one",
    "code_needed": "give it with --code",
    "bad_code": "wait for the next one, and see that the clocks are right",
    "suspended": _ADMINISTRATOR,
    "request_pending": "they get what you wrote once they let you in; write on when they have",
    "bad_phone": "write it like +49 30 123456",
    "no_such_device": "see your devices with: tidings devices list",
    "group_rights": "see what your role is, and who is an admin: tidings group show, tidings group members",
    "group_full": "remove somebody, or make a channel: tidings group create --channel",
    "bad_link": "ask for another one",
    "not_addable": "send them a link: tidings group link",
    "quota": "wait until tomorrow, or ask who runs the server for more",
    "not_available": _ADMINISTRATOR,
}


def hint_of(error: ClientError) -> str:
    """A sentence for the user, or nothing."""
    if error.hint or not isinstance(error, Refused):
        return error.hint
    return HINTS.get(error.name, "")
