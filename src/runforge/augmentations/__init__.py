"""Random changes of training inputs, on the device and in batches; one leaf for each kind."""
