"""ImageNet16-120 in its published pickles, none of whose code is ever run."""

import pickle

import numpy as np
import pytest
import torch

from srnas.errors import UserError
from srnas.tasks.classification.datasets import DATASETS
from srnas.tasks.classification.imagenet16 import FILES, load_arrays


def batch(first, labels, dtype=np.uint8):
    """Image i is the number `first` + i in all its red, twice that in its green pixels."""
    data = np.zeros((len(labels), 3, 16, 16), dtype)
    data[:, 0] = (first + np.arange(len(labels)))[:, None, None]
    data[:, 1] = 2 * data[:, 0]
    data[:, 2, 0, 5] = 9
    return {"data": data.reshape(len(labels), -1), "labels": labels, "mean": np.zeros(768)}


def write(root, protocol=3):
    """Ten training batches and one of validation, of 1000 classes, as the authors' script does."""
    for index, name in enumerate(FILES["train"]):
        content = batch(4 * index, [1, 120, 121, 1000])
        (root / name).write_bytes(pickle.dumps(content, protocol=protocol))
    content = batch(77, [120, 500])
    del content["mean"]
    (root / "val_data").write_bytes(pickle.dumps(content, protocol=protocol))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_it_gives_the_first_120_classes_counted_from_0(tmp_path, protocol):
    write(tmp_path, protocol)
    data = DATASETS["imagenet16"](root=tmp_path)
    assert data.num_classes == 120
    assert data.train.images.shape == (20, 3, 16, 16)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.train.labels.tolist() == [0, 119] * 10
    numbers = [4 * i + j for i in range(10) for j in (0, 1)]
    assert data.train.images[:, 0, 7, 7].tolist() == numbers
    assert data.train.images[:, 1, 0, 15].tolist() == [2 * number for number in numbers]
    assert data.train.images[:, 2].nonzero().tolist() == [[i, 0, 5] for i in range(20)]
    assert data.test.labels.tolist() == [119]
    assert data.test.images[0, 0].unique().tolist() == [77]
    more = DATASETS["imagenet16"](root=tmp_path, num_classes=500)
    assert more.test.labels.tolist() == [119, 499]


def test_pickles_of_python_2_and_of_older_numpy_are_read(tmp_path):
    raw = np.array([0, 10, 127, 128, 200, 255], np.uint8)
    text = pickle.dumps({"data": raw}, protocol=2).replace(b"numpy._core", b"numpy.core")
    assert b"cnumpy.core.multiarray\n_reconstruct" in text
    (tmp_path / "numpy1").write_bytes(text)
    assert np.array_equal(load_arrays(tmp_path / "numpy1")["data"], raw)

    python2 = (  # bytes as SHORT_BINSTRING, no encoder
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"U\x01b\x87R(K\x01K\x06\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06" + raw.tobytes() + b"tbs."
    )
    (tmp_path / "python2").write_bytes(python2)
    assert np.array_equal(load_arrays(tmp_path / "python2")["data"], raw)


class Harmful:
    """Unpickled, it is what `call` returns."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path):
    write(tmp_path)
    made, file = tmp_path / "made", tmp_path / "train_data_batch_7"
    content = {**batch(0, [1]), "extra": Harmful(exec, f"open({str(made)!r}, 'w').close()")}
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(
        UserError, match=r"_batch_7: not loaded, it asks for builtins\.exec"
    ) as told:
        DATASETS["imagenet16"](root=tmp_path)
    assert "\n" not in str(told.value)
    assert not made.exists()
    pickle.loads(file.read_bytes())
    assert made.exists(), "plain pickle runs it"


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",  # dotted: below an allowed name
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"cbuiltins\ngetattr\n.",
        b"csrnas.files\nload_tensors\n.",
        pickle.dumps(Harmful(pickle.loads, b"N.")),
    ],
)
def test_no_other_name_is_looked_up(tmp_path, pickled):
    (tmp_path / "file").write_bytes(pickled)
    with pytest.raises(UserError, match=r"file: not loaded, it asks for .* could execute code"):
        load_arrays(tmp_path / "file")


U1 = b"cnumpy\ndtype\n(Vu1\nI0\nI1\ntR"


def state_of_an_array(state):
    return b"cnumpy.core.multiarray\n_reconstruct\n(tR" + state + b"b"


def test_the_pieces_of_the_broken_pickles_below_make_a_whole_one(tmp_path):
    whole = b"}(Vdata\n" + state_of_an_array(b"(I1\n(I5\nt" + U1 + b"I00\nVshort\nt") + b"u."
    (tmp_path / "file").write_bytes(whole)
    assert load_arrays(tmp_path / "file")["data"].tobytes() == b"short"


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"PK not a pickle",
        pickle.dumps(batch(0, [1]))[:-300],
        b"c_codecs\nencode\n(Vtext\nVbase64\ntR.",  # another encoder than the arrays'
        b"cnumpy\nndarray\n((I1000000000000000\ntVu1\ntR.",  # more than the memory holds
        b"I1\nPsomething\n.",
        # an array of objects at an address of the file's choice
        b"cnumpy\nndarray\n((I1\ntVO\nc_codecs\nencode\n(VAAAAAAAA\nVlatin1\ntRtR.",
        # a dtype whose state says that a structure begins where the file wants
        b"cnumpy\ndtype\n(VV8\nI0\nI1\ntR(I3\nV|\nN(Va\nt(dVa\n(cnumpy\ndtype\n(VO8\nI0\nI1"
        b"\ntRI123456789\ntsI8\nI1\nI27\ntb.",
        b"cnumpy\ndtype\n(VO8\nI0\nI1\ntR.",
        b"cnumpy\ndtype\n(Vu1\nI0\nI1\ntR(I3\nV?\nNNNtb.",
        b"}(Vdata\n" + state_of_an_array(b"(I1\n(I9\nt" + U1 + b"I00\nVshort\nt") + b"u.",
        b"}(Vdata\n" + state_of_an_array(b"(I1\n(I-5\nt" + U1 + b"I00\nVshort\nt") + b"u.",
        b"}(Vdata\n" + state_of_an_array(b"(I1\n(I5\ntVu1\nI00\nVshort\nt") + b"u.",
        b"}(Vdata\n" + state_of_an_array(b"I7\n") + b"u.",
        b"}(Vdata\ncnumpy.core.multiarray\n_reconstruct\n(tRu.",  # an array without a state
    ],
)
def test_a_broken_pickle_is_told_in_one_line(tmp_path, pickled):
    (tmp_path / "file").write_bytes(pickled)
    with pytest.raises(UserError, match=r"file: broken or truncated \(\w+\)"):
        load_arrays(tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]},
        {**batch(0, [1, 2]), "labels": [1]},
        {**batch(0, [1, 2]), "labels": [1, "2"]},
        batch(0, [1, 2], np.float32),
    ],
)
def test_another_layout_is_told(tmp_path, content):
    write(tmp_path)
    (tmp_path / "val_data").write_bytes(pickle.dumps(content, protocol=3))
    with pytest.raises(UserError, match=r"val_data: not a batch of ImageNet16: needs data, uint8"):
        DATASETS["imagenet16"](root=tmp_path)


def test_a_missing_file_is_told(tmp_path):
    write(tmp_path)
    (tmp_path / "train_data_batch_10").unlink()
    with pytest.raises(UserError, match=r"_batch_10: cannot be read \(No such file"):
        DATASETS["imagenet16"](root=tmp_path)
