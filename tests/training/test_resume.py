"""A run that is killed, again and again, ends as one that was left alone: bit by bit."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small

from xlasr import api, runs
from xlasr.errors import CheckpointError, Interrupted, RunBusy, RunError
from xlasr.training.checkpoint import read_checkpoint
from xlasr.training.engine import Trainer

KILLED = -signal.SIGKILL


def jobs(whisper: Path, wav2vec2: Path, emformer: Path, speech: Path) -> list[dict[str, Any]]:
    """What is killed: dropout is on in all of them."""
    everything = small.stage(
        "ctc",
        train={"unfreeze_at": 0.3},
        augment=small.AUGMENT,
        optim={"average": 2, "layer_decay": 0.8},
    )
    cut = small.stage("seq2seq", output={"mode": "cut"}, augment=small.AUGMENT)
    speeds = small.stage("ctc", augment={"speed": [0.9, 1.0, 1.1]}, stop={"updates": 6})
    head = small.stage("ctc", name="head", train={"part": "head"}, stop={"updates": 6})
    lora = small.stage(
        "ctc", name="lora", init="head", train={"part": "lora", "lora": {"r": 2}},
        augment=small.AUGMENT, stop={"updates": 9},
    )  # fmt: skip
    plain = small.stage("ctc", augment=small.AUGMENT)
    streaming = small.stage("ctc", augment=small.AUGMENT, stop={"updates": 6})
    plans: list[tuple[str, Path, Any, dict[str, Any]]] = [
        ("ctc", whisper, small.recipe("ctc", everything), {"chains": 3, "kills": 4}),
        ("seq2seq", whisper, small.recipe("seq2seq", cut), {"chains": 3, "kills": 4}),
        ("wav2vec2", wav2vec2, small.recipe("ctc", speeds), {"chains": 1, "kills": 3}),
        ("emformer", emformer, small.recipe("ctc", streaming), {"chains": 1, "kills": 3}),
        # the first stage reads its frozen encoder from the cache; the first kill is in the second
        ("two_stages", whisper, small.recipe("ctc", head, lora),
         {"chains": 2, "kills": 3, "from": 0.6}),
        ("first_stage", whisper, small.recipe("ctc", head, lora), {"chains": 2, "kills": 3}),
        ("rollback", whisper, small.recipe("ctc", plain), {"chains": 2, "kills": 3, "nan": True}),
        ("ctrl_c", whisper, small.recipe("ctc", plain), {"chains": 0, "kills": 0, "ctrl_c": 5}),
    ]  # fmt: skip
    return [
        {
            "name": name,
            "base": str(base),
            "corpus": str(speech),
            "recipe": plan.model_dump(mode="json"),
            **settings,
        }
        for name, base, plan, settings in plans
    ]


@pytest.fixture(scope="module")
def home(whisper_dir: Path, wav2vec2_dir: Path, speech: Path) -> Iterator[Path]:
    """All runs, made by one process that forks a child for each.

    In memory where there is a file system in memory: thousands of fsyncs, and SIGKILL does not
    ask the disk.
    """
    memory = Path("/dev/shm")  # noqa: S108
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="xlasr-killed-", dir=place) as folder:
        yield _all_runs(Path(folder), whisper_dir, wav2vec2_dir, speech)


def _all_runs(folder: Path, whisper_dir: Path, wav2vec2_dir: Path, speech: Path) -> Path:
    emformer = small.write_emformer(folder / "bases" / "emformer")
    plans = jobs(whisper_dir, wav2vec2_dir, emformer, speech)
    (folder / "jobs.json").write_text(json.dumps(plans))
    source = Path(api.__file__).parents[2]
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("driver.py")), str(folder / "jobs.json")],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)},
    )
    return folder


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves behind that does not depend on the clock."""
    run = api.open_run(folder)
    found: dict[str, Any] = {
        "rows": [{k: v for k, v in row.items() if k != "time"} for row in run.metrics],
        "stages": run.summaries,
    }
    for stage in sorted((folder / "stages").iterdir()):
        for path in sorted(stage.rglob("*")):
            if path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(folder))] = digest
    return found


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found["rows"] == wanted["rows"]
    assert found["stages"] == wanted["stages"]
    assert found == wanted


@pytest.mark.parametrize(
    "name",
    ["ctc", "seq2seq", "wav2vec2", "emformer", "two_stages", "first_stage", "rollback"],
)
def test_killed_runs_end_as_the_whole_one(home: Path, name: str) -> None:
    ends = json.loads((home / name / "ends.json").read_text())
    log = (home / name / "whole.log").read_text()
    assert ends["whole"] == [0], log
    wanted = outcome(home / name / "whole")
    assert len(wanted["rows"]) >= 2
    chains = sorted((home / name).glob("chain?"))
    assert chains
    kills = 0
    for folder in chains:
        codes = ends[folder.name]
        assert codes[-1] == 0, folder.with_suffix(".log").read_text()
        assert set(codes[:-1]) == {KILLED}
        kills += len(codes) - 1
        assert_equal(outcome(folder), wanted)
    assert kills >= 2 * len(chains)  # the seeds were not spent on runs that had ended


def test_average_and_dropout_took_part(home: Path) -> None:
    run = api.open_run(home / "ctc" / "whole")
    assert any("average_of" in row for row in run.metrics)
    kept = sorted(p.name for p in (run.folder / "stages/0-adapt").glob("last-*"))
    assert kept == ["last-00000009", "last-00000012"]


def test_rollback_lowers_the_rate_and_is_counted(home: Path) -> None:
    summary = api.open_run(home / "rollback" / "whole").summaries[0]
    assert summary["guards"]["not_finite"] == 3
    assert summary["guards"]["rollback"] == 1
    assert summary["updates"] == 12
    told = [e for e in summary["events"] if e["guard"] == "rollback"]
    assert (told[0]["update"], told[0]["action"]) == (6, "back to update 3, learning rate halved")


def test_frozen_states_were_cached_for_the_head(home: Path) -> None:
    for name in ("whole", "chain0"):
        head, lora = api.open_run(home / "first_stage" / name).summaries
        assert head["frozen_cache"]["bytes"] > 0
        assert lora["frozen_cache"] is None


def test_ctrl_c_saves_and_says_how_to_go_on(
    home: Path, whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "ctrl_c" / "whole"
    ends = json.loads((home / "ctrl_c" / "ends.json").read_text())
    log = folder.with_suffix(".log").read_text()
    assert ends["whole"] == [130], log
    assert f"xlasr adapt --resume {folder}" in " ".join(log.split())
    assert "Traceback" not in log
    assert read_checkpoint(folder / "stages/0-adapt/last-00000005").state["loop"]["update"] == 5
    with pytest.raises(RunError, match="not finished"):
        _ = api.open_run(folder).model
    resumed = api.adapt(None, resume=folder)
    plain = small.recipe("ctc", small.stage("ctc", augment=small.AUGMENT))
    monkeypatch.setenv("XLASR_CACHE", str(tmp_path / "another"))  # or the stage is reused
    whole = api.adapt(
        speech, base=str(whisper_dir), recipe=plain, out=tmp_path / "whole", seed=3, threads=1
    )
    assert_equal(outcome(resumed.folder), outcome(whole.folder))


def adapt(whisper: Path, speech: Path, out: Path, **changes: Any) -> api.Run:
    changes = {"stop": {"updates": 4}, "evaluate": {"every": 2}, **changes}
    plan = small.recipe("ctc", small.stage("ctc", **changes))
    return api.adapt(speech, base=str(whisper), recipe=plan, out=out, threads=1)


def test_second_ctrl_c_stops_at_once_and_the_run_goes_on(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer._evaluate

    def twice(self: Trainer, *args: Any) -> None:
        if self.state.update == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        real(self, *args)

    monkeypatch.setattr(Trainer, "_evaluate", twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"--resume .*run"):
        adapt(whisper_dir, speech, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    names = [p.name for p in (tmp_path / "run/stages/0-adapt").glob("last-*")]
    assert names == ["last-00000002"]
    monkeypatch.setattr(Trainer, "_evaluate", real)
    assert api.adapt(None, resume=tmp_path / "run").summaries[0]["updates"] == 4


def test_finished_run_is_not_trained_again(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run")
    before = outcome(run.folder)

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "_update", never)
    monkeypatch.setattr(Trainer, "run", never)
    again = api.adapt(None, resume=run.folder)
    assert outcome(again.folder) == before
    with pytest.raises(RunError, match="--resume"):
        adapt(whisper_dir, speech, tmp_path / "run")


def test_cost_of_a_killed_attempt_is_counted(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run")
    facts = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert "attempt_began" not in facts
    rows = run.metrics
    # as a kill -9 leaves it: begun, rows written, no cost
    facts["attempt_began"] = rows[0]["time"]["unix"] - 1
    facts["cost"] = {"cpu_s": 0.0, "wall_s": 0.0, "peak_memory_mb": 0}
    (run.folder / "run.json").write_text(json.dumps(facts), "utf-8")
    again = api.adapt(None, resume=run.folder)
    cost = again.facts["cost"]
    assert cost["cpu_s"] >= rows[-1]["time"]["cpu_s"] - 0.1  # rounded
    assert cost["wall_s"] >= rows[-1]["time"]["unix"] - rows[0]["time"]["unix"]
    assert "attempt_began" not in again.facts


def test_another_corpus_is_refused(whisper_dir: Path, speech: Path, tmp_path: Path) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run")
    other = small.write_speech(tmp_path / "other", train=["abc", "cab"], dev=["bac"])
    with pytest.raises(RunError, match=r"another corpus.*sha256"):
        api.adapt(other.path, resume=run.folder)


def test_other_weights_of_the_base_are_refused(speech: Path, tmp_path: Path) -> None:
    base = small.write_whisper(tmp_path / "base")
    run = adapt(base, speech, tmp_path / "run")
    small.write_whisper(base, seed=1)
    with pytest.raises(RunError, match="other weights"):
        api.adapt(None, resume=run.folder)


def test_edited_recipe_is_refused(
    whisper_dir: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run")
    recipe = run.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("lr: 0.001", "lr: 0.002"))
    with pytest.raises(CheckpointError, match=r"recipe\.yaml was edited"):
        api.adapt(None, resume=run.folder)


def test_folder_in_use_by_another_process(whisper_dir: Path, speech: Path, tmp_path: Path) -> None:
    run = adapt(whisper_dir, speech, tmp_path / "run")
    holder = (
        "import sys; from pathlib import Path; from xlasr import runs\n"
        "with runs.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    source = str(Path(api.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(run.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        with pytest.raises(RunBusy, match=f"process {process.pid}"):
            api.adapt(None, resume=run.folder)
        process.kill()  # the lock goes with the process, however it ends
        process.wait()
        api.adapt(None, resume=run.folder)


def test_what_is_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run"):
        runs.read(tmp_path)
    (tmp_path / "run.json").write_text('{"seed": ')
    with pytest.raises(RunError, match="damaged"):
        runs.read(tmp_path)
