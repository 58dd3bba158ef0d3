"""Accounts, devices, profiles and health over HTTP; `application` is all that a node needs of it."""

from tidings.server.http.app import application as application
