"""Networks: from inputs `[B, *input_shape]` to outputs `[B, K]`; one leaf for each kind."""
