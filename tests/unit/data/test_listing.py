"""Tables of images: what is accepted, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewtune.core.errors import DataError
from fewtune.core.task import Task
from fewtune.data.findings import name_findings
from fewtune.data.layouts import open_task
from fixtures import class_folders, flat_images, list_folder, split_folders, write_jsonl

NAMES = ["a.png", "b c.png", "sub/d.png", "e.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return flat_images(tmp_path / "data", NAMES)


def table(root: Path, text: str, name: str = "labels.csv") -> Path:
    path = root / name
    path.write_bytes(text.encode())
    return path


def labelled(task: Task, split: str = "train") -> dict[str, str]:
    return {e.key: task.classes.names[e.label] for e in task.splits()[split]}


EXPECTED = {"a.png": "cat", "b c.png": "dog", "sub/d.png": "cat"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "path,label\na.png,cat\nb c.png,dog\nsub/d.png,cat\n"),
        ("l.csv", "\ufeffFile_Name , Class\r\na.png,cat\r\n\r\nb c.png, dog \r\nsub/d.png,cat"),
        ("l.csv", 'id;image;target\n1;a.png;cat\n2;"b c.png";dog\n3;./sub/d.png;cat\n'),
        ("l.CSV", "filename,category,extra\na.png,cat,\nb c.png,dog,x\nsub/../sub/d.png,cat,y\n"),
        ("l.tsv", "file\tlabel\na.png\tcat\nb c.png\tdog\nsub/d.png\tcat\n"),
    ],
)
def test_table_text_variants(root: Path, name: str, text: str) -> None:
    task = open_task(table(root, text, name))
    assert labelled(task) == EXPECTED
    assert task.classes.names == ("cat", "dog")
    assert task.name == "l"
    assert task.notes == ("layout: table file", "ignored 1 image next to the listed ones")


def test_jsonl_and_size(root: Path) -> None:
    rows = [{"path": key, "label": name, "caption": None} for key, name in EXPECTED.items()]
    task = open_task(write_jsonl(root / "l.jsonl", rows))
    assert labelled(task) == EXPECTED
    assert task.train[0].size_bytes == (root / "a.png").stat().st_size


def test_absolute_paths_and_paths_above_the_table(root: Path) -> None:
    text = f"path,label\n{root}/a.png,cat\n../data/e.png,dog\n"
    assert labelled(open_task(table(root, text))) == {"a.png": "cat", "../data/e.png": "dog"}
    outside = table(root.parent, text.replace("../", ""))
    assert labelled(open_task(outside)) == {"data/a.png": "cat", "data/e.png": "dog"}
    other = root / "sub/l.csv"
    other.write_text(f"path,label\n{root}/a.png,cat\nd.png,dog\n")
    assert labelled(open_task(other)) == {f"{root}/a.png": "cat", "d.png": "dog"}


def test_split_column(root: Path) -> None:
    text = "path,label,split\na.png,cat,train\nb c.png,dog,Training\nsub/d.png,cat,valid\n"
    task = open_task(table(root, text + "e.png,dog,test\n"))
    assert labelled(task, "val") == {"sub/d.png": "cat"}
    assert labelled(task, "test") == {"e.png": "dog"}
    with pytest.raises(DataError, match=r"line 2 has split 'tset'\. Did you mean 'test'"):
        open_task(table(root, "path,label,split\na.png,cat,tset\n"))


def test_numbers_for_labels(root: Path) -> None:
    text = "path,label\na.png,10\nb c.png,9\n"
    task = open_task(table(root, text))
    assert task.classes.names == ("9", "10")
    (finding,) = name_findings(task)
    assert finding.level == "warning"
    assert "classnames.txt" in finding.hint
    names = root / "classnames.txt"
    names.write_text("\n".join(f"kind {i}" for i in range(11)) + "\n")
    task = open_task(table(root, text))
    assert labelled(task) == {"a.png": "kind 10", "b c.png": "kind 9"}
    assert len(task.classes) == 11
    names.write_text("one\ntwo\n")
    with pytest.raises(DataError, match=r"line 2 has label 10, but labels run from 0 to 1"):
        open_task(table(root, text))
    names.write_text("one\n\nthree\n")
    with pytest.raises(DataError, match="empty line 2"):
        open_task(table(root, text))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "lists no images"),
        ("path,label\n", "lists no images.*names the columns"),
        ("a.png,cat\nb c.png,dog\n", r"no column for the path: found 'a.png', 'cat'.*first line"),
        ("path,breed\na.png,cat\n", "no column for the label.*label, class, category or target"),
        ("path,label\na.png\n", "line 2 has 1 columns, expected 2"),
        ("path,label\na.png,\n", "line 2 has label ''"),
        ("path,label\n,cat\n", "line 2 has no path"),
        ("path,label\na.png,-1\n", "line 2 has label -1.*start at 0"),
        ("path,label\nx.png,cat\ny.png,dog\n", r"2 of 2 images .* do not exist: 'x.png'.*relative"),
        ("path,label\na.png,cat\ny.png,dog\n", r"1 of 2 images .* do not exist: 'y.png'"),
        ("path,label\nsub,cat\n", "do not exist: 'sub'"),
        ("path,label\na\0.png,cat\n", "do not exist|not valid csv"),
        ("path,label\na.png,cat\na.png,dog\n", "'a.png' is in two classes .*line 2.*line 3"),
        (
            "path,label,split\na.png,cat,train\na.png,cat,test\n",
            "'a.png' is in two splits",
        ),
        (
            "path,label,split\na.png,cat,train\ne.png,cta,test\n",
            "'cta' has images in the test split but none.*'cat'",
        ),
    ],
)
def test_wrong_csv(root: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        open_task(table(root, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "line 1 is not valid JSON"),
        ("[1]", "line 1 is not a JSON object"),
        ("[" * 100_000, "line 1 is not valid JSON"),
        ('{"path": 3, "label": "cat"}', "no path: found 3"),
        ('{"path": "a.png", "label": null}', "label None"),
        ('{"path": "a.png", "label": true}', "label True"),
        ('{"path": "a.png", "label": 1.5}', r"label 1\.5"),
        ('{"path": "a.png", "label": ["cat"]}', r"label \['cat'\]"),
        ('{"path": "\\ud800", "label": "cat"}', "do not exist"),
        ('{"path": "a.png", "label": "cat", "split": 1}', "split 1"),
        ('{"path": "a.png"}', "no column for the label"),
    ],
)
def test_wrong_jsonl(root: Path, line: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        open_task(table(root, line + "\n", "l.jsonl"))


def test_other_encodings_are_refused(root: Path) -> None:
    path = root / "l.csv"
    path.write_bytes("path,label\na.png,chaton é\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        open_task(path)


def test_a_row_given_twice_is_dropped_with_a_note(root: Path) -> None:
    task = open_task(table(root, "path,label\na.png,cat\n./a.png,cat\ne.png,dog\n"))
    assert len(task.train) == 2
    assert "left out 1 row that named an image again" in task.notes


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_imagefolder_with_metadata(tmp_path: Path, suffix: str) -> None:
    flat_images(tmp_path, ["train/1.png", "train/2.png", "test/1.png"])
    rows = [("train/1.png", "cat"), ("train/2.png", "dog"), ("test/1.png", "dog")]
    if suffix == "csv":
        table(
            tmp_path, "file_name,label\n" + "".join(f"{p},{c}\n" for p, c in rows), "metadata.csv"
        )
    else:
        content = [{"file_name": path, "label": name} for path, name in rows]
        write_jsonl(tmp_path / "metadata.jsonl", content)
    task = open_task(tmp_path)
    assert task.notes == ("layout: imagefolder with metadata",)
    assert labelled(task) == {"train/1.png": "cat", "train/2.png": "dog"}
    assert labelled(task, "test") == {"test/1.png": "dog"}


def test_imagefolder_with_metadata_in_each_split(tmp_path: Path) -> None:
    flat_images(tmp_path, ["train/1.png", "train/x/2.png", "validation/1.png"])
    table(tmp_path / "train", "file_name,label\n1.png,0\nx/2.png,1\n", "metadata.csv")
    write_jsonl(tmp_path / "validation/metadata.jsonl", [{"file_name": "1.png", "label": 1}])
    task = open_task(tmp_path)
    assert labelled(task) == {"train/1.png": "0", "train/x/2.png": "1"}
    assert labelled(task, "val") == {"validation/1.png": "1"}


def test_metadata_without_labels_leaves_the_folders_to_speak(tmp_path: Path) -> None:
    split_folders(tmp_path, train={"cat": 1, "dog": 1})
    table(tmp_path, "file_name,caption\ntrain/cat/00.png,a cat\n", "metadata.csv")
    assert open_task(tmp_path).notes == ("layout: split folders",)


def test_descriptions(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1, "great_dane": 1, "pug": 1})
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"Great Dane": ["a very tall dog.", "a dog."], "pug": "a pug!"}))
    task = open_task(root, descriptions=texts)
    prompts = [task.classes.texts(label) for label in range(3)]
    assert prompts == [("a photo of a cat.",), ("a very tall dog.", "a dog."), ("a pug!",)]
    rows = tmp_path / "texts.csv"
    rows.write_text('class,text\npug,"small, flat face"\npug,a pug\n')
    assert open_task(root, descriptions=rows).classes.texts(2) == ("small, flat face", "a pug")


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("t.json", '{"cta": ["x"]}', "'cta', which the data does not have.*'cat'"),
        ("t.json", "[]", "must be a JSON object"),
        ("t.json", '{"cat": 3}', "not a list of texts"),
        ("t.json", '{"cat": [3]}', "not a list of texts"),
        ("t.json", '{"cat": [" "]}', "empty description"),
        ("t.json", "{", "not valid JSON"),
        ("t.csv", "name,text\ncat,x\n", "'class' and 'text', found name, text"),
        ("t.csv", "class,text\ncat\n", "1 columns"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, name: str, text: str, match: str) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1, "dog": 1})
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=match):
        open_task(root, descriptions=tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        open_task(root, descriptions=tmp_path / "none.json")


FUZZ = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
CELLS = st.one_of(
    st.sampled_from([*NAMES, "cat", "dog", "0", "1", "-1", "train", "test", "../x.png", "/etc"]),
    st.text(max_size=8),
)
ROWS = st.one_of(
    st.lists(st.tuples(st.sampled_from(NAMES), CELLS, st.sampled_from(["train", "val"]))),
    st.lists(st.lists(CELLS, max_size=4), max_size=5),
)
HEADERS = st.sampled_from(["path,label", "path,label,split", "label;file", "x", ""])


def accept_or_refuse(path: Path) -> Task | None:
    """Return the task, or None for the one permitted error."""
    try:
        task = open_task(path)
    except DataError:
        return None
    assert task.fingerprint()
    assert all(isinstance(e.source, Path) and e.source.is_file() for e in task.train)
    return task


@FUZZ
@given(header=HEADERS, rows=ROWS)
def test_any_csv_is_read_or_refused(root: Path, header: str, rows: list[list[str]]) -> None:
    text = "\n".join([header, *(",".join(row) for row in rows)])
    path = root / "fuzz.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    accept_or_refuse(path)


@FUZZ
@given(content=st.binary(max_size=60))
@pytest.mark.parametrize("name", ["fuzz.csv", "fuzz.tsv", "fuzz.jsonl"])
def test_any_bytes_are_read_or_refused(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(b"path,label\na.png," + content if name[-1] == "v" else content)
    accept_or_refuse(root / name)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from(["path", "label", "split", "class", "image"])


@FUZZ
@given(rows=st.lists(st.dictionaries(KEYS, JSON), max_size=4))
def test_any_jsonl_is_read_or_refused(root: Path, rows: list[dict[str, object]]) -> None:
    accept_or_refuse(write_jsonl(root / "fuzz.jsonl", rows))


@FUZZ
@given(
    lines=st.lists(
        st.one_of(
            st.builds(lambda path, label: f"{path} {label}", CELLS, st.integers(-1, 3)),
            st.text(max_size=20),
        ),
        max_size=5,
    )
)
def test_any_list_is_read_inside_its_folder_or_refused(root: Path, lines: list[str]) -> None:
    list_folder(root, {})
    (root.parent / "x.png").write_bytes(b"outside")
    (root / "train800.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    task = accept_or_refuse(root)
    inside = root.resolve()
    for example in task.train if task else ():
        assert isinstance(example.source, Path)
        assert inside in example.source.resolve().parents
