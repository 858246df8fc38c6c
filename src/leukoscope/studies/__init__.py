"""Guests of the package: whole studies of many runs or bundles. Nothing but the command line imports them."""
