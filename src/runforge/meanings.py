"""What a word of the command line may have been meant to be: keys, choices and values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

ALIASES = {
    **dict.fromkeys(("lr", "rate", "learningrate", "step_size", "eta"), "optimizer.learning_rate"),
    **dict.fromkeys(
        ("epochs", "epoch", "num_epochs", "n_epochs", "max_epoch", "num_train_epochs", "max_iter"),
        "trainer.max_epochs",
    ),
    **dict.fromkeys(
        ("batch", "bs", "batchsize", "train_batch_size", "per_device_train_batch_size"),
        "data.batch_size",
    ),
    **dict.fromkeys(("wd", "decay", "l2"), "optimizer.weight_decay"),
    **dict.fromkeys(("model", "arch", "architecture", "net", "backbone"), "network"),
    **dict.fromkeys(
        ("data_dir", "datadir", "data_path", "data_root", "dataset", "train_dir", "path", "dir"),
        "data.root",
    ),
    **dict.fromkeys(("optim", "optimiser"), "optimizer"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule"), "schedule"),
    **dict.fromkeys(("augment", "augmentations", "transform", "transforms"), "augmentation"),
    **dict.fromkeys(("gpus", "gpu", "num_gpus", "n_gpus", "nproc_per_node"), "machine.devices"),
    **dict.fromkeys(("device",), "machine.accelerator"),
    **dict.fromkeys(("num_nodes", "nnodes"), "machine.nodes"),
    **dict.fromkeys(("num_workers", "n_workers", "dataloader_num_workers"), "machine.workers"),
    **dict.fromkeys(("num_threads", "n_threads", "n_jobs"), "machine.threads"),
    **dict.fromkeys(("early_stopping", "early_stopping_patience"), "trainer.patience"),
    **dict.fromkeys(
        ("clip", "grad_clip", "gradient_clip_val", "max_grad_norm", "clip_grad_norm"),
        "trainer.gradient_clip_norm",
    ),
    **dict.fromkeys(
        ("accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum"),
        "trainer.accumulate",
    ),
    **dict.fromkeys(("log_every_n_steps", "logging_steps", "log_interval"), "log_every_steps"),
    **dict.fromkeys(("random_seed", "random_state", "manual_seed", "seed_everything"), "seed"),
    **dict.fromkeys(
        ("resume", "checkpoint", "ckpt", "ckpt_path", "weights", "pretrained", "load"), "init_from"
    ),
    **dict.fromkeys(("size", "image_size", "img_size", "imgsz"), "data.modality.height"),
    **dict.fromkeys(
        ("label", "label_column", "target_column", "y"),
        "data.source.target",
    ),
    **dict.fromkeys(("csv", "filename", "data_file"), "data.source.file"),
    **dict.fromkeys(("sep", "delimiter", "delim"), "data.source.separator"),
    **dict.fromkeys(("test_size", "test_split"), "data.split.test"),
    **dict.fromkeys(("val_size", "val_split", "validation_split"), "data.split.validation"),
    **dict.fromkeys(("hidden_size", "hidden_sizes", "hidden_layer_sizes"), "network.hidden"),
    **dict.fromkeys(("project", "exp_name", "experiment-name"), "experiment_name"),
}
"""Words of other tools, each with our key."""

_WORDS = {
    **dict.fromkeys(("yes", "on", "1", "y", "t"), "true"),
    **dict.fromkeys(("no", "off", "0", "n", "f"), "false"),
    **dict.fromkeys(("none", "nil", "~", ""), "null"),
}
MOST_PARTS = 100
"""Of a list that is written out again."""

VALUES = {
    **dict.fromkeys(("cuda", "cuda:0", "nvidia"), "gpu"),
    **dict.fromkeys(("tpu", "mps", "xla", "xpu"), "auto"),
    **dict.fromkeys(("32", "fp32", "float32", "float", "32-bit"), "32-true"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16-mixed"),
    **dict.fromkeys(("16", "fp16", "float16", "half"), "16-mixed"),
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
    **dict.fromkeys(("gray", "grey", "grayscale", "greyscale"), "L"),
    **dict.fromkeys(("color", "colour", "bgr", "rgba"), "RGB"),
    **dict.fromkeys(("categorical", "classification", "label"), "class"),
    **dict.fromkeys(("continuous", "regression", "number"), "value"),
    **dict.fromkeys(("minimize", "lower"), "min"),
    **dict.fromkeys(("maximize", "higher"), "max"),
}
"""Values of other tools, each with ours."""

_PLAIN = re.compile(r"[A-Za-z_/][\w/.-]*(?: [\w/.-]+)*", re.ASCII)
"""Texts that Hydra's grammar reads as they are."""
_WORDS_OF_YAML = re.compile(r"(?i)true|false|null|nan|inf")


def key_of(override: str) -> str:
    """What stands before the first `=`, without `+` and `~`."""
    return override.split("=")[0].strip().lstrip("+~")


def keys_for(key: str, known: Sequence[str]) -> list[str]:
    """The keys that a word may stand for, the likeliest first."""
    word = key.lower().replace("-", "_").strip("._ ")
    last = word.rpartition(".")[2]
    same = [k for k in known if k.lower() == word]
    alias = ALIASES.get(word) or ALIASES.get(last, "")
    if "." in word and not alias.startswith(word.partition(".")[0]):
        alias = ""
    ending = [k for k in known if k.rpartition(".")[2].lower() == last]
    siblings = [k for k in known if k.rpartition(".")[0] == word.rpartition(".")[0]]
    other = [k for k in known if alias and (k == alias or k.endswith(f".{alias}"))]
    close = [*_close(word, siblings if "." in word else known), *_close(word, known)]
    return list(dict.fromkeys([*same, *other, *ending, *close]))


def closest(word: str, options: Sequence[str]) -> list[str]:
    """The options that a word is near to, letter case aside; the nearest first."""
    folded = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), folded, n=2, cutoff=0.5)
    begins = [one for one in folded if word and one.startswith(word.lower())]
    return [folded[one] for one in dict.fromkeys([*near, *begins])]


def _close(word: str, options: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, options, n=2, cutoff=0.6)


def written(value: object) -> str:
    """A value in Hydra's grammar.

    >>> written([1, "a b", "C6H6(GT)", None, True])
    '[1,a b,"C6H6(GT)",null,true]'
    """
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if not isinstance(value, str):
        return str(value)
    plain = _PLAIN.fullmatch(value) and not _WORDS_OF_YAML.fullmatch(value)
    return value if plain else in_quotes(value)


def in_quotes(text: str) -> str:
    r"""A text as Hydra's quoted text, whatever is in it.

    >>> print(in_quotes('say "a\\b" \\'))
    'say "a\b" \\'
    """
    quote = "'" if '"' in text and "'" not in text else '"'
    # A backslash counts only before a quote, which the end of the text is too.
    escaped = re.sub(rf"(\\*){quote}", rf"\1\1\\{quote}", text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{quote}{escaped.replace('${', chr(92) + '${')}{quote}"


def texts(raw: str, *, several: bool = False) -> Iterator[str]:
    """What a value that Hydra's grammar can't read may have been meant to be.

    A bracket is closed, a stray quote left out, a home folder written out; else a text is quoted,
    or each of `several`.
    """
    for opening, closing in ("[]", "{}"):
        if raw.startswith(opening) and not raw.endswith(closing):
            yield raw + closing
    if raw[-1:] == ",":
        yield raw.rstrip(",")
    for quote in "'\"":
        if raw.count(quote) == 1 and (raw.startswith(quote) or raw.endswith(quote)):
            yield written(raw.strip(quote))
    if several and "," in raw:
        yield ",".join(_text(part.strip()) for part in raw.split(","))
    yield _text(raw)


def _text(raw: str) -> str:
    if raw.startswith("~/") or raw == "~":
        with suppress(RuntimeError):
            return written(str(Path(raw).expanduser()))
    return in_quotes(raw)


def values(raw: str, kinds: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """What a value of the wrong kind may have been meant to be, in Hydra's grammar.

    `kinds` are pydantic's names of what is wrong, `options` the words that are right.
    """
    bare = raw.strip(" '\"")
    ours = VALUES.get(bare.lower(), "")
    yield from [ours] if ours in options else []
    yield from closest(bare, options)
    wrong = " ".join(kinds)
    if "string" not in wrong and bare.lower() in _WORDS:
        yield _WORDS[bare.lower()]
    if "string" in wrong and bare:
        yield in_quotes(raw)
    if "int" in wrong or "float" in wrong:
        with suppress(ValueError):
            number = float(bare.replace(",", "."))
            yield f"{number:.0f}" if number.is_integer() else f"{number!r}"
    parts = [part for part in re.split(r"[,;\s]+", bare.strip("[]() ")) if part]
    if ("list" in wrong or raw.startswith("[")) and 0 < len(parts) < MOST_PARTS:
        yield f"[{','.join(parts)}]"
        yield f"[{','.join(map(in_quotes, parts))}]"
