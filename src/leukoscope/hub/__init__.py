"""Bundles given to a model hub and taken from one, each checked before it is taken for one."""
