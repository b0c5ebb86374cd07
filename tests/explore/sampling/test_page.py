"""What docs/explore-sampling.md shows works as it stands."""

import tomllib
from pathlib import Path

from dpbench.config import from_mapping
from dpbench.explore.sampling.prototypes import OTHER_NAMES, PROTOTYPES
from dpbench.explore.sampling.settings import SamplingSettings
from tests.explore.sampling.small import plan, starts_of

PAGE = Path(__file__).parents[3] / "docs" / "explore-sampling.md"


def block(language):
    return PAGE.read_text().split(f"```{language}\n")[1].split("```")[0]


def test_the_section_of_the_page_is_planned(model_file, tmp_path):
    section = tomllib.loads(block("toml"))["explore"]
    settings = from_mapping(SamplingSettings, section, where="explore")
    starts = starts_of(settings, ["fcc"], where=tmp_path)
    tasks = plan(settings, model_file, tmp_path, starts=starts)
    assert sum(len(task.names) for task in tasks) == 20
    assert settings.stages[0].frames == 100


def test_the_python_of_the_page_prints_what_it_says(capsys):
    code = block("python")
    exec(compile(code, str(PAGE), "exec"), {})
    assert code.strip().endswith("# " + capsys.readouterr().out.strip())


def test_the_page_names_every_prototype():
    text = PAGE.read_text()
    assert not [name for name in (*PROTOTYPES, *OTHER_NAMES) if name not in text]
