"""Weights from frames: the recipe, the batches, the loop, and what a killed run goes on from."""
