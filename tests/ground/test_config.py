"""The strict way from a mapping to a dataclass."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from dpbench.config import canonical_json, from_mapping, read_toml, to_mapping
from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    rcut: float = 6.0
    sel: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.rcut <= 0:
            raise ConfigError(f"rcut = {self.rcut} Å must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    inner: Inner
    kind: Literal["a", "b"] = "a"
    steps: int | None = None
    batch: int | str = "auto"
    pair: tuple[int, float] = (1, 2.0)
    flag: bool = False
    out: Path = Path("out")
    weights: dict[str, float] = field(default_factory=dict)
    extra: Any = None


def build(**data):
    return from_mapping(Outer, {"inner": {"sel": [46, 92]}, **data}, where="t.toml")


def test_nested_tables_and_defaults_are_built():
    config = build(steps=5, batch=3, out="x", weights={"O": 1}, pair=[2, 3])
    assert config.inner == Inner(sel=(46, 92))
    assert config.steps == 5
    assert config.pair == (2, 3.0)
    assert config.out == Path("x")
    assert config.weights == {"O": 1.0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kindd": "a"}, r"t\.toml: unknown key 'kindd' -- did you mean 'kind'\?"),
        ({"zzz": 1}, r"unknown key 'zzz' -- known: inner, kind"),
        ({"kind": "c"}, r"t\.toml\.kind = 'c'; expected one of \['a', 'b'\]"),
        ({"steps": "many"}, r"t\.toml\.steps = 'many'; expected int"),
        ({"steps": True}, r"t\.toml\.steps = True; expected int"),
        ({"flag": 1}, r"t\.toml\.flag = 1; expected bool"),
        ({"pair": [1]}, r"t\.toml\.pair = \[1\]; expected 2 values"),
        ({"pair": 1}, r"t\.toml\.pair = 1; expected a list"),
        ({"weights": 1}, r"t\.toml\.weights = 1; expected a table"),
        ({"inner": 3}, r"t\.toml\.inner: expected a table"),
        ({"inner": {}}, r"t\.toml\.inner: missing key 'sel'"),
        ({"inner": {"sel": [1.5]}}, r"t\.toml\.inner\.sel\[0\] = 1\.5; expected int"),
        ({"inner": {"sel": [1], "rcut": -1}}, r"t\.toml\.inner: rcut = -1\.0 Å must"),
    ],
)
def test_a_bad_mapping_names_the_place_and_the_mend(data, message):
    with pytest.raises(ConfigError, match=message):
        build(**data)


def test_to_mapping_goes_back_through_from_mapping():
    config = Inner(rcut=5.0, sel=(1, 2))
    plain = to_mapping(config)
    assert plain == {"rcut": 5.0, "sel": [1, 2]}
    assert from_mapping(Inner, plain, where="x") == config
    with pytest.raises(TypeError):
        to_mapping({"not": "a dataclass"})


def test_canonical_json_does_not_depend_on_key_order_and_refuses_nan():
    assert canonical_json({"b": 1, "a": [1.0, "Å"]}) == '{"a":[1.0,"Å"],"b":1}'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})


def test_toml_that_is_missing_or_broken_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        read_toml(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("a = [1,")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(broken)
    broken.write_text("a = 1")
    assert read_toml(broken) == {"a": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Circle:
    type: Literal["circle", "disc"] = "circle"
    radius: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    type: Literal["square"] = "square"
    side: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    shape: Circle | Square
    others: tuple[Circle | Square, ...] = ()


def draw(**data):
    return from_mapping(Drawing, data, where="t.toml")


def test_type_tells_the_dataclasses_of_a_union_apart():
    found = draw(shape={"type": "square", "side": 2}, others=[{"type": "disc"}])
    assert found == Drawing(shape=Square(side=2.0), others=(Circle(type="disc"),))
    assert draw(shape={"radius": 3}).shape == Circle(radius=3.0)
    assert from_mapping(Drawing, to_mapping(found), where="t") == found


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"type": "star"}, r"type = 'star'; expected one of \['circle', 'disc', 'sq"),
        ({"type": "square", "radius": 1}, "unknown key 'radius'"),
        (7, "expected"),
    ],
)
def test_a_wrong_kind_or_option_of_a_union_is_named(shape, words):
    with pytest.raises(ConfigError, match=words):
        draw(shape=shape)
