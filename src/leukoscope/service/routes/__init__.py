"""The interface under `/api/v1`: each module translates requests to one call of the rooms beside it."""
