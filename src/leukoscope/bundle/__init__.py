"""The artefact: a graph, its facts and its card. `read` needs no PyTorch; `export` does."""
