import zipfile

import pytest

from pack_wheels import check_size, cut, other_libraries


@pytest.fixture
def bitsandbytes(tmp_path):
    wheel = tmp_path / "bitsandbytes-1-py3-none-any.whl"
    names = ["__init__.py", *(f"libbitsandbytes_{kind}.so" for kind in ("cpu", "cuda128", "cuda130", "rocm72"))]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(f"bitsandbytes/{name}", name)
        record = "".join(f"bitsandbytes/{name},sha256=abc,1\n" for name in names)
        archive.writestr("bitsandbytes-1.dist-info/RECORD", record + "bitsandbytes-1.dist-info/RECORD,,\n")
    return wheel


def test_of_bitsandbytes_the_library_of_one_cuda_version_is_kept(bitsandbytes):
    cut(bitsandbytes, other_libraries(bitsandbytes, "13.0"))
    kept = [
        "bitsandbytes/__init__.py",
        "bitsandbytes/libbitsandbytes_cpu.so",
        "bitsandbytes/libbitsandbytes_cuda130.so",
    ]
    with zipfile.ZipFile(bitsandbytes) as archive:
        assert archive.namelist() == [*kept, "bitsandbytes-1.dist-info/RECORD"]
        rows = archive.read("bitsandbytes-1.dist-info/RECORD").decode().splitlines()
    assert [row.split(",")[0] for row in rows] == [*kept, "bitsandbytes-1.dist-info/RECORD"]


def test_a_cuda_version_that_bitsandbytes_lacks_is_refused_with_those_that_it_has(bitsandbytes):
    with pytest.raises(SystemExit, match=r"--cuda 9\.9: .* has none for it, but .*libbitsandbytes_cuda128\.so"):
        other_libraries(bitsandbytes, "9.9")


def test_wheels_that_are_too_large_together_are_refused(bitsandbytes, capsys):
    with pytest.raises(SystemExit, match="too large"):
        check_size(bitsandbytes.parent, limit=100)
    assert "bitsandbytes-1-py3-none-any.whl" in capsys.readouterr().out
    check_size(bitsandbytes.parent)
