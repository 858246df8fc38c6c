"""Tests of the room cells."""
