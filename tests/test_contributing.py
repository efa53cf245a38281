"""The two additions that CONTRIBUTING.md shows, made word for word as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml

from runforge import config
from tests.conftest import REPOSITORY, Project, make_project

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()


def shown(name: str) -> str:
    """The block of code that the page gives for a file."""
    found = re.search(rf"`{re.escape(name)}`.*?```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, name
    return found[1]


def test_adding_a_network_touches_two_files(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    for name in ("src/runforge/networks/wide.py", "conf/network/wide.yaml"):
        (project.folder / name).write_text(shown(name))
    code = (
        "import torch; from pathlib import Path; from runforge import config, targets;"
        "node = config.compose(Path.cwd(), ['network=wide', 'network.width=16']).values['network'];"
        "network = targets.build(node, input_shape=(1, 8, 8), output_count=10);"
        "assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)"
    )
    run(project, code)
    refused = code.replace("network.width=16", "network.width=0")
    assert "network.width" in run(project, refused, code=1)


def test_adding_a_source_touches_two_files(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    name = "src/runforge/sources/lines.py"
    (project.folder / name).write_text(shown(name))
    group = yaml.safe_load((project.folder / "conf/data/breast_cancer.yaml").read_text())
    group["source"] = yaml.safe_load(shown("conf/data/lines.yaml"))["source"]
    group["root"] = "data"
    (project.folder / "conf/data/lines.yaml").write_text(yaml.safe_dump(group))
    (project.folder / "data").mkdir()
    numbers = np.random.default_rng(0).normal(size=60)
    lines = [f"{'high' if n > 0 else 'low'}\t{n}" for n in numbers]
    (project.folder / "data/lines.txt").write_text("\n".join(lines))
    code = (
        "from pathlib import Path; from runforge import config, preparation;"
        "overrides = ['experiment=breast_cancer', 'data=lines'];"
        "settings = config.compose(Path.cwd(), overrides).settings;"
        "schema = preparation.prepare(Path.cwd(), settings, Path('out/prepared'));"
        "assert schema.classes == ('high', 'low'), schema"
    )
    run(project, code)


def run(project: Project, source: str, *, code: int = 0) -> str:
    """Runs Python with the project's own copy of the code; returns what it says of errors."""
    done = project.run(
        "python", "-c", source, code=code,
        PYTHONPATH=str(project.folder / "src"),
    )  # fmt: skip
    return done.stderr


def test_the_page_is_about_this_project() -> None:
    assert config.CONF in PAGE
