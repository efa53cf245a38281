"""The four stages of `dvc.yaml`: thin; they read inputs, build parts, run and write outputs."""
