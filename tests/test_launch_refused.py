"""What launch and those after it refuse: one clear message, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from launched import TINY, Finished, Run, refused, status_of

from segsweep.orchestrator.checking.validation import check
from segsweep.orchestrator.launching.launch import Machinery, create
from segsweep.orchestrator.record.journal import Journal
from segsweep.orchestrator.space.source import parse

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # MLflow imports pydantic, starlette and sqlalchemy features that are going away
    "ignore::ResourceWarning",  # its SQLite connections are closed by the garbage collector
)


# -- bad input: one clear message, exit code 2, nothing left behind -----------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "tiny.yaml: cannot be read: No such file or directory. Give the path of a search-space file"),
        (b"\xff\xfe", "tiny.yaml: cannot be read: it is not UTF-8 text. Give the path of a search-space file"),
        (b"", "tiny.yaml: is empty. A search space needs at least datasets, models and epochs"),
        (b"epochs: 1\n\tseeds: [1]\n", "tiny.yaml:2: is no valid YAML: a tab; YAML allows only spaces for indentation"),
        (b"epochs: 1\nepochs: 2\n", "tiny.yaml:2: epochs: is given twice, first in line 1"),
        (
            TINY.replace("epochs: 1", "epochs: one").encode(),
            "tiny.yaml:4: epochs: must be a whole number, not 'one'; e.g. `epochs: 30`",
        ),
    ],
)
def test_files_that_are_no_search_space(run: Run, tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "tiny.yaml").write_bytes(content)
    assert refused(run, "launch", "tiny.yaml", "--in-process") == message


def test_a_folder_is_no_search_space(run: Run, tmp_path: Path) -> None:
    assert refused(run, "launch", tmp_path).startswith(f"{tmp_path}: cannot be read: Is a directory")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A `folder` dataset of three images with two classes, and space.yaml that uses it."""
    from PIL import Image

    root = tmp_path / "pictures"
    for part, mode in (("images", "RGB"), ("masks", "L")):
        (root / part).mkdir(parents=True)
        for name in "abc":
            Image.new(mode, (80, 48), color=1 if mode == "L" else (9, 9, 9)).save(root / part / f"{name}.png")
    (root / "splits").mkdir()
    for split, names in (("train", "a\nb\n"), ("val", "c\n")):
        (root / "splits" / f"{split}.txt").write_text(names)
    dataset = f"datasets: [{{type: folder, root: {root}, classes: [ground, thing]}}]"
    (tmp_path / "space.yaml").write_text("\n".join([dataset, *TINY.splitlines()[1:], ""]))
    return root


def spoil_mask(root: Path) -> None:
    from PIL import Image

    Image.new("L", (80, 48), color=7).save(root / "masks" / "c.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            shutil.rmtree,
            "space.yaml:1: datasets[0].root: there is no folder {root}; put the data there, give `root:`, or set "
            "SEGSWEEP_DATA to the folder of your datasets",
        ),
        (
            lambda root: (root / "masks" / "b.png").unlink(),
            "space.yaml:1: datasets[0]: {root}/splits/train.txt: 1 name (b) without a mask, such as {root}/masks/b.png "
            "(.bmp, .gif, .npy, .png, .tif, .tiff). Add the mask or take the image out; "
            "`mask_suffix` names what masks have after the image's name",
        ),
        (
            spoil_mask,
            "space.yaml:1: datasets[0]: {root}/masks/c.png: value 7 in 3840 pixels (first at x=0, y=0) is no class. "
            "Allowed: 0 = ground, 1 = thing. Remedy: `ignore: [7]` makes it void, `values` maps raw values to classes",
        ),
        (
            lambda root: (root / "splits" / "val.txt").write_text("\n"),
            "space.yaml:1: datasets[0]: {root}/splits/val.txt: names no image, so the split would be empty. "
            "List one image name a line",
        ),
        (
            lambda root: (root / "images" / "a.png").write_bytes(b"no picture"),
            "space.yaml:1: datasets[0]: {root}/images/a.png: cannot be read as an image (cannot identify image file "
            "'{root}/images/a.png'). Replace the file or take it out",
        ),
    ],
    ids=["no folder", "no mask", "no class", "empty split", "no image"],
)
def test_data_that_cannot_be_used(run: Run, pictures: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(pictures)
    assert refused(run, "launch", "space.yaml", "--in-process") == message.format(root=pictures)


def test_an_image_that_breaks_after_the_launch_fails_its_trials_only(
    run: Run, pictures: Path, tmp_path: Path, empty_store: Path
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    text = (tmp_path / "space.yaml").read_text().replace("datasets: [", f"{TINY.splitlines()[0].removesuffix(']')}, ")
    source = parse(text, "space.yaml")
    create(check(source), tmp_path / "sweeps", "broken", Machinery(in_process=True), lambda line: None)
    (pictures / "images" / "b.png").write_bytes(b"no picture")  # as on a node whose copy of the data is damaged
    done = run("resume", "broken", "--in-process")
    assert done.code == 3
    reason = f"DataError: {pictures}/images/b.png: cannot be read as an image"
    assert done.err.count(f"on folder: failed after epoch 0: {reason}") == 2
    found = json.loads(run("status", "broken", "--json").out)
    cells = [(cell["dataset"], cell["finished"], cell["failed"]) for cell in found["cells"]]
    assert cells == [("streets", 2, 0), ("folder", 0, 2)]


def test_everything_about_the_machine_is_told_at_once(run: Run, pictures: Path, tmp_path: Path) -> None:
    shutil.rmtree(pictures)
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(
            "launch", "space.yaml", "--dashboard-port", port, "--storage", "file/sweeps", "--name", "../x",
            "--set", "resources.cpus=100000", "--set", "resources.gpus=0",
        )  # fmt: skip
    cpus = len(os.sched_getaffinity(0))
    missing, *rest = [line.removeprefix("error: ") for line in done.err.splitlines()]
    assert missing.startswith("space.yaml:1: datasets[0].root: there is no folder")
    wanted = "--set resources.cpus=100000: resources.cpus: a trial needs 100000 CPUs and 0 GPUs"
    assert rest[0].startswith(f"{wanted}, this machine has {cpus} CPUs and ")
    assert rest[1].startswith(f"--dashboard-port {port}: is not free (")
    assert rest[2:] == [
        f"file/sweeps: cannot be written: {tmp_path}/file is a file; give --storage DIR",
        "--name ../x: must be up to 100 letters, digits, '.', '_' or '-', the first a letter or digit",
    ]
    assert (done.code, sorted(path.name for path in tmp_path.iterdir())) == (2, ["file", "space.yaml"])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers there (Connection refused); start it with `ray up`"),
        ("ray://127.0.0.1:1", "is a Ray Client address; launch on the head node with --address auto"),
        ("head", "must be auto or HOST:PORT"),
    ],
)
def test_a_cluster_that_does_not_answer(run: Run, tmp_path: Path, address: str, message: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    given = ("--address", address, "--set", "resources.gpus=0")
    assert refused(run, "launch", "tiny.yaml", *given) == f"--address {address}: {message}"


def test_on_a_cluster_the_gpus_of_a_trial_are_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    message = refused(run, "launch", "tiny.yaml", "--address", "auto")
    assert message.startswith("tiny.yaml: resources.gpus: say how many GPUs a trial gets (0, 1 ... or auto)")


def test_ctrl_c_before_the_sweep_exists_is_130_too(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "interrupting_plugin.py").write_text("raise KeyboardInterrupt\n")
    (tmp_path / "tiny.yaml").write_text(f"{TINY}plugins: [interrupting_plugin]\n")
    done = run("launch", "tiny.yaml")
    assert (done.code, done.out, done.err.strip()) == (130, "", "")


@pytest.mark.parametrize("name", ["a b", ".hidden", "", "a/b", "x" * 101])
def test_names_that_no_folder_should_have(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert refused(run, "launch", "tiny.yaml", "--name", name).startswith(f"--name {name}: must be up to 100 letters")


def test_a_transform_that_fails_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    transforms = "[HorizontalFlip, {RandomCrop: {height: 48, width: 81}}]"
    (tmp_path / "crop.yaml").write_text(f"{TINY}augmentations: [{{type: albumentations, transforms: {transforms}}}]\n")
    assert refused(run, "launch", "crop.yaml", "--in-process").startswith(
        "crop.yaml:8: augmentations[0].transforms[1].RandomCrop: fails for 48x80 pixels: Crop size"
    )


def test_a_name_that_exists_is_refused_and_without_one_a_number_is_chosen(run: Run, finished: Finished) -> None:
    os.chdir(finished.home)
    assert refused(run, "launch", "tiny.yaml", "--name", "tiny-1") == (
        "--name tiny-1: sweeps/tiny-1 exists; choose another --name, or go on with it: segsweep resume tiny-1"
    )
    elsewhere = refused(run, "launch", "tiny.yaml", "--storage", finished.folder.parent, "--name", "tiny-1")
    assert elsewhere.endswith("segsweep resume tiny-1")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "http://127.0.0.1:1",
            "no MLflow server answers there (Connection refused); start it with `mlflow server`, or drop the URI",
        ),
        (
            "file:mlruns",
            "MLflow no longer keeps runs in plain files; use sqlite:///mlflow.db or the http:// address of a",
        ),
        (
            "sqlite:///tiny.yaml",
            "{cwd}/tiny.yaml cannot be written: file is not a database; name another store in $MLFLOW",
        ),
    ],
)
def test_a_tracking_store_that_does_not_answer(run: Run, tmp_path: Path, uri: str, message: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    told = refused(run, "launch", "tiny.yaml", "--in-process", "--set", f"tracking.uri={uri}")
    place, _, why = told.partition(": ")
    assert place.startswith("tracking URI ")
    assert told.removeprefix("tracking URI ").split(": ", 1)[1].startswith(message.format(cwd=tmp_path)), (place, why)


def test_wrong_usage_is_exit_code_2_without_a_traceback(run: Run) -> None:
    for arguments in (("launch",), ("lunch", "x.yaml"), ("launch", "x.yaml", "--dashboard-port", "0")):
        done = run(*arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("Usage: ")


# -- sweeps that cannot be shown or resumed -----------------------------------------------------------------------


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished sweep, to be damaged."""
    return Path(shutil.copytree(finished.folder, tmp_path / "sweeps" / "tiny-1"))


@pytest.mark.parametrize("verb", ["status", "resume", "sync"])
def test_an_unknown_sweep_is_told_with_its_neighbours(run: Run, copied: Path, verb: str) -> None:
    message = "sweeps: no sweep 'tini-1'. Did you mean 'tiny-1'? There are: tiny-1"
    assert refused(run, verb, "tini-1") == message
    assert (
        refused(run, verb, "--storage", "nowhere") == "nowhere: holds no sweep; start one with `segsweep launch FILE`"
    )


@pytest.mark.parametrize("verb", [("leaderboard",), ("best", "--dataset", "streets")])
def test_mlflow_does_not_know_the_sweep(run: Run, finished: Finished, verb: tuple[str, ...]) -> None:
    told = refused(run, *verb, "tini-1", "--tracking-uri", finished.uri)
    assert told.startswith("SWEEP tini-1: is not known. Did you mean 'tiny-1'? There are: ")


def test_best_names_the_datasets_and_models_that_there_are(run: Run, finished: Finished) -> None:
    asked = ("best", "--tracking-uri", finished.uri, "--dataset")
    assert (
        refused(run, *asked, "street") == "--dataset street: is not known. Did you mean 'streets'? There are: streets"
    )
    assert refused(run, *asked, "streets", "--model", "unet") == "--model unet: is not known. There are: tiny"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "has no beginning; remove the folder and launch the search space again"),
        (lambda lines: lines[1:], "has no beginning; remove the folder and launch the search space again"),
        (lambda lines: [*lines[:3], b"{\n", *lines[3:]], "is no event; restore the file from a copy, or launch the"),
        (lambda lines: [*lines[:2], *lines[3:]], "event 3 follows event 1 at byte"),
    ],
    ids=["empty", "headless", "garbled", "line lost"],
)
@pytest.mark.parametrize("verb", ["status", "resume"])
def test_a_damaged_journal(
    run: Run, copied: Path, damage: Callable[[list[bytes]], list[bytes]], message: str, verb: str
) -> None:
    journal = copied / "journal.jsonl"
    journal.write_bytes(b"".join(damage(journal.read_bytes().splitlines(keepends=True))))
    told = refused(run, verb, "tiny-1")
    assert told.startswith("sweeps/tiny-1/journal.jsonl: ")
    assert message in told


def test_a_sweep_that_another_process_runs(run: Run, copied: Path) -> None:
    with Journal(copied / "journal.jsonl"):
        assert refused(run, "resume", "tiny-1") == (
            "sweeps/tiny-1/journal.jsonl: another segsweep process runs this sweep; wait for it, or stop it with Ctrl-C"
        )
        assert status_of(run, "tiny-1")["state"] == "running"


def test_a_sweep_whose_plugin_is_gone(run: Run, copied: Path) -> None:
    journal = copied / "journal.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    event = json.loads(first)
    event["spec"]["plugins"] = ["plugin_that_is_gone"]
    journal.write_text("".join([json.dumps(event) + "\n", *rest]))
    for verb in ("resume", "status"):
        assert refused(run, verb, "tiny-1") == (
            "sweeps/tiny-1/journal.jsonl: No module named 'plugin_that_is_gone'. "
            "Is the plug-in installed or on PYTHONPATH?"
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "optimizers: [{type: timm, optimizer: adan, arguments: {speed: 3}}]",
            "tiny.yaml:9: optimizers[0]: arguments of timm's adan: ",
        ),
        (
            "models: [{architecture: unet, encoder: resnet18, weights: 'run:a'}]",
            "there is no such file yet; run `segsweep launch FILE`",
        ),
        ("models: [{architecture: unet, encoder: resnet18, weights: notes.pt}]", "not a readable file of torch.save"),
    ],
)
def test_what_only_a_library_or_a_store_knows_is_refused_before_anything_is_written(
    run: Run, tmp_path: Path, changes: str, message: str
) -> None:
    kept = [line for line in TINY.splitlines() if not line.startswith(changes.partition(":")[0])]
    (tmp_path / "tiny.yaml").write_text("\n".join([*kept, "seeds: [0]", changes, ""]))
    (tmp_path / "notes.pt").write_text("learned on monday")
    done = run("launch", "tiny.yaml", "--in-process")
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "sweeps").exists()
