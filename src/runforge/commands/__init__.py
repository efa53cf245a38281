"""The commands of the command line that are no stage: thin as the stages are."""
