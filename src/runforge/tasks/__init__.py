"""What is learned: losses, predictions and figures; one leaf for each kind."""
