"""How groups look to programs: the objects of `--json`; see `objects`."""

import base64

from tidings.client.group_values import Group, GroupMember, Invitation, MemberTimes, Rules
from tidings.protocol.frames import Reference

Object = dict[str, object]


def group_object(group: Group) -> Object:
    """A group as it is."""
    return {
        "type": "group",
        "peer": group.peer,
        "conversation_id": conversation(group.conversation_id),
        "name": group.name,
        "about": group.about,
        "is_channel": group.is_channel,
        "version": group.version,
        "role": group.role.name.lower(),
        "rules": rules_object(group.rules),
        "count": group.count,
        "has_picture": group.picture != 0,
        "sealed": group.sealed,
        "made_by": group.made_by,
        "made_at": group.made_at,
        "pins": [
            {"message_id": str(pin.message_id), "reference": reference(pin.reference)} for pin in group.pins
        ],
        "links": [
            {"hash": link.hash.hex(), "until": link.until, "made_by": link.made_by} for link in group.links
        ],
        "waiting": list(group.waiting),
        "left": group.is_left,
    }


def rules_object(rules: Rules) -> Object:
    """Who may do what in a group."""
    return {
        "write": rules.write.name.lower(),
        "add": rules.add.name.lower(),
        "edit": rules.edit.name.lower(),
        "approval": rules.approval,
    }


def member_object(member: GroupMember) -> Object:
    """Somebody in a group."""
    return {
        "type": "member",
        "user_id": str(member.user_id),
        "handle": member.handle,
        "role": member.role.name.lower(),
    }


def invitation_object(invitation: Invitation) -> Object:
    """What a link leads to."""
    return {
        "type": "invitation",
        "conversation_id": conversation(invitation.conversation_id),
        "name": invitation.name,
        "about": invitation.about,
        "count": invitation.count,
        "made_by": invitation.made_by,
        "approval": invitation.approval,
        "is_channel": invitation.is_channel,
        "sealed": invitation.sealed,
    }


def times_object(times: MemberTimes) -> Object:
    """When a message reached a member."""
    return {"handle": times.handle, "delivered_at": times.delivered_at, "read_at": times.read_at}


def conversation(conversation_id: bytes) -> str:
    """A conversation's id as JSON carries it. spec §2.3"""
    return base64.b64encode(conversation_id).decode()


def reference(name: Reference) -> Object:
    """A message's name."""
    return {"sender_device": str(name.sender_device), "client_id": name.client_id.hex()}
