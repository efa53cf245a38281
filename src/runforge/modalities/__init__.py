"""How samples are decoded, packed, normalised and shown: one leaf for each kind."""
