"""What `runforge COMMAND --help` says of a command, where a line is not enough."""

TRAIN_HELP = """\
One run: prepares the data if needed, trains, evaluates and records; prints the run's id.

Overrides are Hydra's: a choice from a group of conf/ (network=mlp), or a value
(optimizer.learning_rate=0.01). With -m, every combination of comma-separated values is run as a
trial of a sweep: runforge train -m network=cnn,mlp optimizer.learning_rate=0.001,0.01
Hydra's words for many values serve too: 'network=glob(*)', 'seed=range(1,5)'. A text with signs of
the grammar in it is quoted for the shell and for Hydra: 'data.source.target="C6H6(GT)"'.
"""

PREDICT_HELP = """\
What a model says of raw files: probabilities for each class, or the value.

Pictures: files, folders (all files in them, in natural order), or - for a list of paths on standard
input, one a line. Tables: CSV or Parquet files with or without the target, folders of them, or -
for CSV on standard input. The preprocessing comes with the model. What can't be used is listed in
OUTPUT.quarantine.csv with the reason (without --output: on standard error). Exit code 0 where
something was predicted, 2 where nothing could be.
"""

EXPORT_HELP = """\
A model as one file for other programs: packed samples in, probabilities or values out, any batch
size. What goes in and comes out is told in PATH.json and in the file itself.

Before it is handed on, its outputs are held against the trained model's on real samples: of
--samples, else of the prepared set in out/ that the model was trained on, else made from the
schema; which ones, standard error tells. Where they differ nothing is written: exit code 3.
"""

SERVE_HELP = """\
A model over HTTP: POST /predict with a picture (image/*) or JSON ({"images": [base64, …]} or
{"rows": [{column: cell}, …]}); GET /health, /ready, /model, /docs, /openapi.json. Requests that
wait at the same time are predicted together. There is no password: see docs/security.md before it
is reached from other machines.
"""

BATCH_SIZE_HELP = """\
Trains for a few steps with growing data.batch_size and prints the override for the largest that
leaves a tenth of the memory. Records nothing. The batch size changes what a training learns, so
that it is never changed for you: give the override, and a learning rate that goes with it.
"""
