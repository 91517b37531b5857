"""Recipes: every problem is told at once, overrides, and the way through YAML and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from xlasr.config import Recipe, dump_recipe, load_recipe, parse_recipe, recipe_files
from xlasr.errors import ConfigError, UnknownName, UsageError

ROOT = Path(__file__).parents[1]


def tree(**stage: Any) -> dict[str, Any]:
    """A correct recipe of one stage, changed by ``stage``."""
    first = {"name": "adapt", "objectives": [{"kind": "ctc"}], "stop": {"updates": 5}}
    return {"name": "r", "family": "ctc", "stages": [first | stage]}


def problems(recipe: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(recipe, "r.yaml")
    assert caught.value.exit_code == 2
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def write(folder: Path, recipe: object) -> str:
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "studies").glob("*.yaml")))
def test_cells_of_studies_are_recipes_that_differ(path: Path) -> None:
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(table) <= {"recipe", "base", "set", "cells"}
    found = [
        load_recipe(table["recipe"], [*table.get("set", []), *settings]).model_dump_json()
        for settings in table["cells"].values()
    ]
    assert len(set(found)) == len(found) > 1


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "recipes").glob("*.yaml")))
def test_every_recipe_that_comes_along_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    measured = name in ("ctc", "whisper-full", "whisper-lora", "whisper-synthetic")
    cost = re.fullmatch(r"\d+ CPU-minutes, \d\.\d GB \(on 65 min of Czech, .*\)", recipe.cost)
    assert bool(cost) == measured and bool(recipe.cost) == measured
    assert recipe_files()[name].parent == ROOT / "recipes"
    assert parse_recipe(yaml.safe_load(dump_recipe(recipe)), "again") == recipe


def test_mistakes_of_every_kind_are_told_together() -> None:
    """Unknown key, wrong value and a misfit between fields, as pydantic alone would not."""
    recipe = tree(bacth_s=3, objectives=[{"kind": "cross_entropy"}], init="adpt")
    recipe["stages"][0]["optim"] = {"lr": -1}
    recipe["stages"].append(tree(init="adept", stop={"updates": 3, "epochs": 1})["stages"][0])
    found = problems(recipe)
    for part in (
        "stages.0.bacth_s: unknown key. Did you mean 'batch_s'",
        "stages.0.optim.lr: Input should be greater than 0 (found -1)",
        "objective 'cross_entropy' does not fit the family 'ctc', which takes 'ctc'",
        "starts from 'adpt', which is no earlier stage",
        "starts from 'adept', which is no earlier stage. Did you mean 'adapt'",
        "two stages are called 'adapt'",
        "stages.1.stop: give exactly one of `updates` and `epochs`",
    ):
        assert sum(part in problem for problem in found) == 1, (part, found)
    assert len(found) == 7


@pytest.mark.parametrize(
    ("stage", "family", "message"),
    [
        ({"objectives": [{"kind": "ctcc"}]}, "ctc", "unknown objective 'ctcc'. Did you mean 'ctc'"),
        ({"output": {"mode": "cut"}}, "ctc", "output.mode 'cut' does not fit the family 'ctc'"),
        (
            {"output": {"mode": "extend"}, "objectives": [{"kind": "cross_entropy"}]},
            "seq2seq",
            "output.mode 'extend' does not fit the family 'seq2seq', which takes keep, cut",
        ),
        ({"train": {"part": "layers"}}, "ctc", "train.part layers needs train.top_layers"),
        ({"objectives": [{"kind": "ctc", "label_smoothing": 0.1}]}, "ctc", "label_smoothing is"),
        ({"stop": {}}, "ctc", "give exactly one of `updates` and `epochs`"),
        ({"augment": {"noise": {"snr": 3}}}, "ctc", "augment.noise.snr: unknown key. Did you mean"),
        ({"augment": {"noise": {"snr_db": [25, 5]}}}, "ctc", "the lowest ratio stands first"),
        ({"train": {"lora": {"tragets": []}}}, "ctc", "Did you mean 'targets'"),
        (
            {"data": [{"path": "a", "wieght": 1}]},
            "ctc",
            "adapt.data.0.wieght: unknown key. Did you mean",
        ),
        ({"name": "Stage One"}, "ctc", "stages.0.name"),
        ({}, "rnnt", "family"),
    ],
)
def test_one_mistake_is_one_problem(stage: dict[str, Any], family: str, message: str) -> None:
    found = problems(tree(**stage) | {"family": family})
    assert len(found) == 1
    assert message in found[0]


TEXT = {"data": [{"pairs": "p.tsv"}, {"text": "t.txt"}], "objectives": [{"kind": "cross_entropy"}]}


@pytest.mark.parametrize(
    ("stage", "messages"),
    [
        ({"data": [{"path": "a", "text": "b"}]}, ["exactly one of `path`, `pairs` and `text`"]),
        ({"data": [{"path": "main", "pairs": "b"}]}, ["exactly one of `path`, `pairs` and `text`"]),
        ({"augment": {"spec": {}, "noise": {}}}, ["augment.noise changes", "augment.spec changes"]),
        ({"augment": {"speed": [0.9, 1.0]}}, ["augment.speed changes sound"]),
        ({"train": {"part": "adapter"}}, ["does not pass the speech encoder"]),
        ({"train": {"text_input": "silence"}}, ["train.text_input: Input should be 'none' or"]),
        # none of these asks for what is not there; and beside speech, speech is augmented
        ({"augment": {"speed": [1.0], "spec": None}}, []),
        ({"train": {"part": "adapter", "adapter": {"where": "decoder"}}}, []),
        ({"data": [{"text": "t"}, {}], "augment": {"speed": [0.9]}}, []),
    ],
)
def test_text_without_speech(stage: dict[str, Any], messages: list[str]) -> None:
    recipe = tree(**TEXT | stage) | {"family": "seq2seq"}
    found = problems(recipe) if messages else []
    assert len(found) == len(messages)
    assert all(m in f for m, f in zip(messages, sorted(found), strict=True))
    if not messages:
        parsed = parse_recipe(recipe, "r.yaml")
        assert parse_recipe(yaml.safe_load(dump_recipe(parsed)), "again") == parsed


TWO = [
    tree(name="first", family="seq2seq", output={"mode": "replace"},
         objectives=[{"kind": "cross_entropy"}])["stages"][0],
    tree(name="last", init="first", output={"mode": "replace"})["stages"][0],
]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last", "recipe", "message"),
    [
        ({}, {"output": {}}, {}, "'last' is of the family 'ctc' and begins from 'first', of 'seq"),
        ({}, {"family": "transducer", "objectives": [{"kind": "transducer"}]}, {},
         "the recipe's family is 'ctc', and its last stage, whose model is the result, is of 'tr"),
        ({"objectives": [{"kind": "ctc"}]}, {}, {}, "ctc stands beside a decoder"),
        ({"train": {"part": "lora"}}, {}, {}, "under train.part 'lora' it would stay so"),
        ({"objectives": [{"kind": "cross_entropy", "bpe_dropout": 0.1}]}, {}, {}, "bpe_dropout is"),
        ({"family": "ctc", "objectives": [{"kind": "ctc"}]}, {}, {"decoder": {"layers": 1}},
         "decoder: sizes are for the family 'seq2seq'"),
        ({}, {"output": {"mode": "replace", "text": "phones"}, "data": [{"target": "en"}]}, {},
         "data.target learns translations, and output.text phones transcripts"),
        ({"output": {"mode": "keep", "pieces": 9}}, {}, {}, "output.pieces is for the family 'tr"),
    ],
)  # fmt: skip
def test_families_of_stages(
    first: dict[str, Any], last: dict[str, Any], recipe: dict[str, Any], message: str
) -> None:
    whole = {"name": "r", "family": "ctc", "decoder": {"layers": 1}, "stages": TWO}
    parsed = parse_recipe(whole, "r.yaml")
    assert [parsed.family_of(stage) for stage in parsed.stages] == ["seq2seq", "ctc"]
    assert parse_recipe(yaml.safe_load(dump_recipe(parsed)), "again") == parsed
    wrong = {"name": "r", "family": "ctc", "stages": [TWO[0] | first, TWO[1] | last]}
    found = problems(wrong | recipe)
    assert len(found) == 1 and message in found[0]


def test_text_cannot_train_ctc() -> None:
    found = problems(tree(data=[{}, {"text": "t.txt"}]))
    assert len(found) == 1
    assert "text alone cannot train the family 'ctc'" in found[0]


def test_an_entry_of_the_data_that_says_nothing_is_the_commands_corpus() -> None:
    recipe = parse_recipe(tree(data=[{}, {"minutes": 10}, {"path": None}]), "r.yaml")
    assert [d.path for d in recipe.stages[0].data] == ["main"] * 3


def test_length_bonus_is_refused_where_it_would_do_nothing() -> None:
    seq2seq = tree(objectives=[{"kind": "cross_entropy"}]) | {"family": "seq2seq"}
    found = problems(seq2seq | {"decode": {"beam": 4, "length_bonus": 0.5}})
    assert found == ["decode.length_bonus is for ctc; Whisper's beam normalises by length"]


def test_overrides_reach_stages_and_the_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, tree(augment={"noise": None, "speed": [1.0, 1.1]}))
    recipe = load_recipe(
        path,
        [
            "adapt.optim.lr=3e-4",
            "adapt.augment.noise.probability=0.5",  # was null: turned on
            "adapt.augment.spec={}",
            "adapt.augment.speed.1=1.2",
            "adapt.stop.updates=null",
            "adapt.stop.epochs=2",
            "adapt.train={part: lora, lora: {r: 4}}",
            "decode.beam=4",
            "context.slack=32",
            "name=other",
        ],
    )
    stage = recipe.stages[0]
    assert stage.optim.lr == 3e-4
    assert stage.augment.noise is not None
    assert stage.augment.noise.probability == 0.5
    assert stage.augment.spec is not None
    assert stage.augment.speed == [1.0, 1.2]
    assert (stage.stop.updates, stage.stop.epochs) == (None, 2)
    assert (stage.train.part, stage.train.lora.r) == ("lora", 4)
    assert (recipe.decode.beam, recipe.context.slack, recipe.name) == (4, 32, "other")


def test_wrong_overrides_are_told_together_with_the_mistakes_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, tree(bacth_s=3))
    wrong = [
        "adapt",
        "adpat.batch_s=3",
        "adapt=3",
        "adapt.=3",
        "adapt.batch_s=[",
        "adapt.objectives.x.weight=1",
        "adapt.objectives.7.weight=1",
        "adapt.name.x=1",
        "adapt.optim.lrr=1",
    ]
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, wrong)
    found = caught.value.problems
    assert [p.split("'")[1] for p in found[:8]] == wrong[:8]
    assert "no stage 'adpat'. Did you mean 'adapt'" in found[1]
    assert {p.split(":")[0] for p in found[8:]} == {"adapt.bacth_s", "adapt.optim.lrr"}
    assert "Did you mean 'lr'" in str(caught.value)


@pytest.mark.parametrize("stages", ["null", "3", "{adapt: {}}", "[1, null]"])
def test_stages_of_another_kind_are_no_crash(tmp_path: Path, stages: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: r\nfamily: ctc\nstages: {stages}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="stages"):
        load_recipe(str(path), ["adapt.batch_s=3"])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"- a\n", ConfigError, "a recipe is a mapping"),
        (b"a: [", ConfigError, "not YAML"),
        (b"name: caf\xe9\n", UsageError, "cannot read the recipe .*utf-8"),
        (b"a: !!python/object/apply:os.getcwd []\n", ConfigError, "not YAML"),
    ],
)
def test_files_that_are_no_recipe(
    tmp_path: Path, content: bytes, error: type[UsageError], message: str
) -> None:
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(error, match=message):
        load_recipe(str(tmp_path / "r.yaml"))


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownName, match=r"unknown recipe 'wisper-full'\. Did you mean 'whisper-f"
    ):
        load_recipe("wisper-full")
    with pytest.raises(UsageError, match=r"cannot read the recipe .*none\.yaml"):
        load_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError):
        parse_recipe(None, "empty")  # type: ignore[arg-type]


@given(
    lr=st.floats(1e-9, 1.0),
    speeds=st.lists(st.floats(0.6, 1.9), min_size=1, max_size=3),
    text=st.text(max_size=20),
    noise=st.none() | st.fixed_dictionaries({"probability": st.floats(0, 1)}),
    minutes=st.none() | st.floats(0.01, 1e4),
)
def test_a_recipe_survives_yaml(
    lr: float, speeds: list[float], text: str, noise: dict[str, float] | None, minutes: float | None
) -> None:
    content = tree(
        optim={"lr": lr},
        augment={"speed": speeds, "noise": noise},
        data=[{"path": text, "minutes": minutes}],
    )
    recipe = Recipe.model_validate(content | {"description": text})
    assert parse_recipe(yaml.safe_load(dump_recipe(recipe)), "again") == recipe
