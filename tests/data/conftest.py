"""Fixtures that several test files of this folder share."""

from checked import drawn, root  # noqa: F401
