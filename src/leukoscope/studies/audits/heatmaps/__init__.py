"""Heat maps, tested: where they lie, what they say of the answer, and whether they hang on what was learned."""
