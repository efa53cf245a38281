"""How raw data lies on disk: one leaf for each kind, reached by `_target_`."""
