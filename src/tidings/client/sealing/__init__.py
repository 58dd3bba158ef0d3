"""Sealing: what only the ends can read.

```
 own        this device's keys and prekeys, the user's identity
 lists      who has which devices, as signed
 sessions   a ratchet for each pair of devices
 chains     each device's count of what it said
 inside     what is sealed, and what outside is bound to it
 warnings   what the user must be told
 asking     keys that did not come, asked for and sent once more
        sealer  a written message  -> content and envelopes
        opener  what was delivered -> the message, or a fault
```

In groups:

```
 rosters       who is in, and whom of them the user was told of
 sender_keys   this device's own, and who has them from where on
 handouts      frames that bring them to devices, until they are answered
 heard_keys    those of others, and what was read with each
 infos         a group's name and description, sealed
 group_asking  sender keys that did not come
        group_sealer  a written message  -> handouts, then content
        group_opener  what was delivered -> the message, or a fault
```

All of these are jobs of the vault: they run inside the transaction that stores the message, so that no
crash separates a ratchet from what it sealed or opened. `press`, `group_press`, `supplies`, `publishing` and
`linking` ask the server for what the jobs lack.

spec §6.16, §6.17
"""
