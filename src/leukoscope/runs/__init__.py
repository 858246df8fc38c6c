"""One folder is one run: trained, packed into a bundle, measured."""
