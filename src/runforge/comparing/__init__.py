"""What `runforge compare` finds between runs, says, draws and records."""
