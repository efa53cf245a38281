"""Composition and its check: every mistake is one line that names the place, the key, the mend."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runforge import config
from runforge.devices import device_count
from runforge.errors import ConfigError
from runforge.overrides import quoted
from runforge.targets import resolve

REPOSITORY = Path(__file__).parents[1]
EXPERIMENTS = sorted(p.stem for p in (REPOSITORY / "conf" / "experiment").glob("*.yaml"))
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in (REPOSITORY / "conf").glob("*/*.yaml")
    if path.parent.name != "experiment"
)
NEEDS = {
    "machine=multi_node": ["machine.rendezvous='node7:29400'"],
    "data=diabetes": ["task=regression"],
    "task=regression": ["data=diabetes"],
}
"""What a choice leaves to the user."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is nothing but its configuration."""
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(project: Path, name: str) -> None:
    composed = config.compose(project, [f"experiment={name}"])
    assert composed.values["seed"] == 0


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(project: Path, choice: str) -> None:
    # The experiment overrides some choices: composed without one, each file is really taken.
    config.compose(project, ["~experiment", choice, *NEEDS.get(choice, [])])


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("optimizer.learning_rate=-1", ("optimizer.learning_rate", "-1", "greater than 0")),
        ("optimizer.learning_rate=nan", ("optimizer.learning_rate", "finite")),
        ("optimizer.learning_rate=abc", ("optimizer.learning_rate", "abc", "number")),
        ("optimizer.lr=0.1", ("optimizer.lr", "did you mean `optimizer.learning_rate=0.1`?")),
        ("+optimizer.foo=0.1", ("optimizer.foo", "no such key")),
        ("network=ccn", ("network=ccn", "did you mean `network=cnn`?", "cnn, mlp, origin, resnet")),
        ("netwrk=cnn", ("netwrk", "did you mean `network=cnn`?")),
        ("+network.foo=1", ("network.foo", "no such key")),
        ("~network.filters", ("network.filters", "missing")),
        ("network.filters=3", ("network.filters", "list")),
        ("network.padding=none", ("network.padding", "same")),
        ("data.batch_size=-5", ("data.batch_size", "-5")),
        ("data.batch_size=1.5", ("data.batch_size", "1.5")),
        ("data.batch_size=null", ("data.batch_size", "None")),
        ("data.batch_size=01", ("data.batch_size", "01")),
        ("data.split.test=1.5", ("data.split.test", "less than 1")),
        ("data.modality.height=0", ("data.modality.height", "0")),
        ("seed=-1", ("seed", "-1")),
        ("seed=4294967296", ("seed", "4294967296")),
        ("seed=3.7", ("seed", "3.7")),
        ("seed=null", ("seed", "None")),
        ("trainer.precision=8", ("trainer.precision", "8")),
        ("trainer.max_epochs=0", ("trainer.max_epochs", "0")),
        ("trainer.deterministic=yes", ("trainer.deterministic", "yes")),
        ("trainer.sync_batch_norm=1", ("trainer.sync_batch_norm", "1")),
        ("machine.devices=0", ("machine.devices", "0")),
        ("machine.devices=all", ("machine.devices", "all", "integer", "'auto'")),
        ("machine.cuda_graphs=never", ("machine.cuda_graphs", "boolean", "'auto'")),
        ("machine.nodes=0", ("machine.nodes", "0")),
        ("machine.rendezvous=node7", ("machine.rendezvous", "node7")),
        ("machine.nodes=2", ("machine.rendezvous", "2 nodes have nowhere to meet", "HOST:PORT")),
        ("machine=multi_node", ("override machine=multi_node", "2 nodes have nowhere to meet")),
        ("machine.devices=65", ("data.batch_size", "64 samples can't be shared by 65 devices")),
        ("machine.strategy=dp", ("machine.strategy", "dp", "fsdp")),
        ("machine.restarts=-1", ("machine.restarts", "-1")),
        ("machine.timeout_s=0", ("machine.timeout_s", "0")),
        ("machine.checkpoint_interval_s=-1", ("machine.checkpoint_interval_s", "-1")),
        ("task.loss._target_=os.system", ("task.loss._target_", "os.system", "may not be named")),
        ("network._target_=runforge.networks.cnn.Cn", ("no class runforge.networks.cnn.Cn",)),
        ("experiment=nothing", ("experiment", "digits")),
        ("seed", ("override seed: it has no =", "key=value")),
        ("network=[a", ("override network=[a: a group has one choice",)),
        ("task.loss.label_smoothing=high", ("task.loss.label_smoothing", "high")),
    ],
)
def test_a_mistake_is_one_line(project: Path, override: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.compose(project, [override])
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert part in line
    assert "override" in line or "conf" in line


@pytest.mark.parametrize(
    "override", ["machine.devices=auto", "machine.devices=3", "machine.rendezvous='node7:29400'"]
)
def test_devices_are_counted_or_all_taken(project: Path, override: str) -> None:
    key, _, value = override.partition("=")
    machine = config.compose(project, [override]).settings.machine
    assert str(getattr(machine, key.partition(".")[2])) == value.strip("'")


def test_a_key_given_twice_is_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match="seed is given twice"):
        config.compose(project, ["seed=1", "seed=2"])


def test_a_mistake_in_a_file_names_the_file(project: Path) -> None:
    file = project / "conf" / "optimizer" / "adam.yaml"
    file.write_text(file.read_text().replace("weight_decay: 0.0", "weight_decay: -1.0"))
    with pytest.raises(ConfigError, match=r"conf/optimizer/adam.yaml: optimizer.weight_decay"):
        config.compose(project)


def test_a_misspelt_key_in_a_file_names_the_file(project: Path) -> None:
    file = project / "conf" / "trainer" / "default.yaml"
    file.write_text(file.read_text() + "max_epoch: 3\n")
    with pytest.raises(
        ConfigError, match=r"conf/trainer/default.yaml: trainer.max_epoch: .*no such"
    ):
        config.compose(project)


def test_broken_yaml_is_one_line(project: Path) -> None:
    (project / "conf" / "network" / "cnn.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError) as caught:
        config.compose(project)
    assert "\n" not in str(caught.value)


def test_params_round_trip(project: Path) -> None:
    composed = config.compose(project, ["network=mlp", "seed=7"])
    config.write_params(project, composed)
    assert config.read_params(project).values == composed.values
    before = (project / "params.yaml").stat().st_mtime_ns
    config.write_params(project, composed)
    assert (project / "params.yaml").stat().st_mtime_ns == before


def test_params_are_checked(project: Path) -> None:
    config.write_params(project, config.compose(project))
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("batch_size: 64", "batch_size: 0"))
    with pytest.raises(ConfigError, match=r"params.yaml: data.batch_size"):
        config.read_params(project)


def test_params_equal_what_dvc_composes(project: Path) -> None:
    from dvc.utils.hydra import compose_and_dump

    config.write_params(project, config.compose(project, ["network=mlp"]))
    theirs = project / "theirs.yaml"
    compose_and_dump(theirs, str(project / "conf"), None, "config", ".", ["network=mlp"])
    assert theirs.read_text() == (project / "params.yaml").read_text()


def test_nothing_machine_bound_reaches_the_parameters(project: Path) -> None:
    config.write_params(project, config.compose(project))
    text = (project / "params.yaml").read_text()
    assert str(project) not in text
    assert "${" not in text


def test_every_target_of_conf_can_be_named(project: Path) -> None:
    for choice in CHOICES:
        values = config.compose(project, ["~experiment", choice, *NEEDS.get(choice, [])]).values
        for key, target in config.flatten(values).items():
            if key.endswith("_target_"):
                resolve(target)


def test_the_check_imports_no_torch(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from runforge import config;"
        f"config.compose(Path({str(project)!r}));"
        "assert not {'torch', 'pytorch_lightning', 'mlflow'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_trials_are_every_combination(project: Path) -> None:
    overrides = [
        "network=cnn,mlp",
        "optimizer.learning_rate=0.1,0.2",
        "seed=3",
        "hydra.verbose=true",
    ]
    trials = config.trials(project, overrides)
    assert trials == [
        (f"network={n}", f"optimizer.learning_rate={r}", "seed=3")
        for n in ("cnn", "mlp")
        for r in ("0.1", "0.2")
    ]


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no runforge project"):
        config.find_project(tmp_path)


def test_a_project_whose_name_is_no_text_is_refused_before_anything(
    project: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"raw\xff")
    shutil.copytree(project / "conf", odd / "conf")
    (odd / "dvc.yaml").touch()
    with pytest.raises(ConfigError, match=r"no UTF-8.*move the project") as refused:
        config.find_project(odd)
    assert "\n" not in str(refused.value)


def test_the_project_is_found_from_a_folder_in_it(project: Path) -> None:
    assert config.find_project(project / "conf" / "network") == project.resolve()


def test_the_machine_of_the_page_on_scaling(project: Path) -> None:
    page = (REPOSITORY / "docs" / "scaling.md").read_text()
    found = re.search(r"`conf/machine/eight.yaml`:\n```yaml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    (project / "conf" / "machine" / "eight.yaml").write_text(found[1])
    machine = config.compose(project, ["machine=eight"]).settings.machine
    assert (machine.accelerator, machine.devices, machine.strategy) == ("gpu", 8, "fsdp")


def test_auto_is_one_process_on_the_cpu() -> None:
    machine = config.compose(REPOSITORY, ["machine=cpu", "machine.devices=auto"]).settings.machine
    assert device_count(machine) == 1


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("init_from=12345678", "init_from='12345678'"),
        ("init_from=1234e567", "init_from='1234e567'"),
        ("+init_from=00123456, 1e400000,latest", "+init_from='00123456', '1e400000',latest"),
        ("init_from='123456'", "init_from='123456'"),
        ("init_from=run 12", "init_from=run 12"),
        ("seed=123456", "seed=123456"),
    ],
)
def test_a_runs_id_is_no_number(project: Path, typed: str, given: str) -> None:
    assert quoted([typed]) == [given]
    if "," not in given:
        value = given.partition("=")[2].strip("'")
        key = given.partition("=")[0]
        assert str(config.compose(project, [given]).values[key]) == value


@pytest.mark.parametrize(
    ("swept", "values"),
    [
        ("network=glob(*)", ["cnn", "mlp", "origin", "resnet"]),
        ("network=glob(*,exclude=[o*,r*])", ["cnn", "mlp"]),
        ("network=choice(cnn,mlp)", ["cnn", "mlp"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("seed=sort(3,1,2,reverse=true)", ["3", "2", "1"]),
        ("seed=range(1,4)", ["1", "2", "3"]),
        ("seed=tag(x,choice(1,2))", ["1", "2"]),
        ("seed=int(1.5),int(2.2)", ["1", "2"]),
        ("++seed=1,2", ["1", "2"]),
        ("experiment=digits,diabetes", ["digits", "diabetes"]),
        ("data.name=\"a,b\",'c d'", ['"a,b"', "'c d'"]),
        ("network.filters=[8],[16,32]", ["[8]", "[16,32]"]),
    ],
)
def test_hydras_words_of_a_sweep(project: Path, swept: str, values: list[str]) -> None:
    key = swept.partition("=")[0]
    trials = config.trials(project, ["evaluation.seed=3", swept])
    assert trials == [("evaluation.seed=3", f"{key}={value}") for value in values]
    for trial in trials:
        config.compose(project, trial)


def test_values_that_conf_varies_are_trials(project: Path) -> None:
    file = project / "conf" / "experiment" / "digits.yaml"
    params = 'hydra: {sweeper: {params: {seed: "1,2", network: "cnn,mlp"}}}\n'
    file.write_text(f"{file.read_text()}\n{params}")
    assert config.trials(project, ["experiment=digits", "network=resnet"]) == [
        ("seed=1", "network=resnet", "experiment=digits"),
        ("seed=2", "network=resnet", "experiment=digits"),
    ]
    assert len(config.trials(project, ["experiment=digits", "data.batch_size=8,16"])) == 8
    assert len(config.trials(project, ["experiment=diabetes", "data.batch_size=8,16"])) == 2


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_what_is_shuffled_is_run_as_it_was_composed(
    project: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    monkeypatch.chdir(project)
    given = ["network.filters=shuffle([1,2,3,4,5,6,7,8,9])", "seed=shuffle(1,2,3)"]
    given += [f"hydra/launcher={launcher}", "~experiment"]
    trials = config.trials(project, given)
    assert len(trials) == 3 and all("~experiment" in trial[2] for trial in trials)

    def note(trial: tuple[str, ...]) -> None:
        (project / f"ran-{trial[1]}").write_text(trial[0])

    config.multirun(project, given, trials[:2], note)
    ran = {file.name: file.read_text() for file in project.glob("ran-*")}
    assert ran == {f"ran-{trial[1]}": trial[0] for trial in trials[:2]}


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        (
            "network=cnn,mlp network.dense=8",
            "network=mlp has no key network.dense; take `network=cnn`",
        ),
        (
            "seed=interval(0,1)",
            "no list of values; name values, such as `seed=0,1`",
        ),
        ("seed=glob(*)", "there is nothing to try; glob() finds choices of a group"),
        ("seed=range(3,1)", "there is nothing to try; name values, or a range"),
        ("seed=range(1,3,0)", "must not be zero; name values, or a range"),
        ("network=cnn,mpl", "did you mean `network=mlp`?"),
        ("network=[cnn,mlp]", "sweep over them: `-m network=cnn,mlp`"),
        ("+hydra.sweeper.params.seed=1", "Hydra takes it from files only; sweep over the keys"),
        ("hydra/launcher=slurm", "there is no hydra/launcher=slurm"),
        ("data.name=é,b", 'write `\'data.name="é","b"\'`'),
    ],
)
def test_a_mistake_in_a_sweep(project: Path, swept: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        for trial in config.trials(project, swept.split()):
            config.compose(project, trial)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("experiment_name=李明", "'experiment_name=\"李明\"'"),
        ("init_from=a/epoch=9.ckpt", "'init_from=\"a/epoch=9.ckpt\"'"),
        ("data.target.name=C6H6(GT)", "'data.target.name=\"C6H6(GT)\"'"),
        ("data.name=;", "'data.name=\";\"'"),
        ("data.name=a,b", "'data.name=\"a,b\"'"),
        ("data.name=1e5", "'data.name=\"1e5\"'"),
        ("data.name=null", "'data.name=\"null\"'"),
        ("data.name=my name", "'data.name=\"my name\"'"),
        ("Network=cnn", "network=cnn"),
        ("network=CNN", "network=cnn"),
        ("optimizer.LR=0.1", "optimizer.learning_rate=0.1"),
        ("lr=0.1", "optimizer.learning_rate=0.1"),
        ("lr=0,1", "optimizer.learning_rate=0.1"),
        ("epochs=5", "trainer.max_epochs=5"),
        ("batch_size=8", "data.batch_size=8"),
        ("model=mlp", "network=mlp"),
        ("Netwrk=MPL", "network=mlp"),
        ("device=cuda", "machine.accelerator=gpu"),
        ("seed = 1", "seed=1"),
        ("seed= 1", "seed=1"),
        ("seed =1", "seed=1"),
        ("seed 1", "seed=1"),
        ("seed:1", "seed=1"),
        ("mlp", "network=mlp"),
        ("diabetes", "experiment=diabetes"),
        ("+seed=1", "seed=1"),
        ("+network=mlp", "network=mlp"),
        ("network.filters=[32, 64]", "'network.filters=[32,64]'"),
        ("network.filters=32,64", "'network.filters=[32,64]'"),
        ("data.batch_size=64.0", "data.batch_size=64"),
        ("trainer.precision=bf16", "trainer.precision=bf16-mixed"),
        ("data.modality.mode=grey", "data.modality.mode=L"),
    ],
)
def test_what_may_have_been_meant_composes(project: Path, typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.compose(project, typed.split(" "))
    assert re.search(f"(write|did you mean) `{re.escape(meant)}`", str(caught.value)), caught.value
    config.compose(project, shlex.split(meant))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            "experiment=diabetes task=binary",
            "Binary learns a class, and data.target.kind is value; take `task=reg",
        ),
        (
            "task=regression",
            "data.target.kind is class; take `task=binary` or `task=multiclass`",
        ),
        (
            "data=diabetes",
            "data.target.kind is value; take `experiment=diabetes`, which brings its",
        ),
        ("data.target.kind=value", "override data.target.kind=value: data.target.kind: "),
        (
            "network=mlp network.dense=8",
            "has no key network.dense; take `network=cnn` or `network=origin`, or",
        ),
        ("data.split=0.2", "its keys are data.split.validation, data.split.test"),
        (
            "seed=;",
            "should be a valid integer; mend the value, which is else `seed=0`",
        ),
        ("data=images data.source.splits=x", "override data.source.splits=x"),
    ],
)
def test_what_does_not_fit_together_is_told_at_once(
    project: Path, overrides: str, told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config.compose(project, overrides.split())
    assert told in str(caught.value)
