import json
import mmap

import psutil

import measure_data

SIZE = 64 << 20


def test_generated_files_are_read_and_read_again(stories, tmp_path, monkeypatch):
    results = tmp_path / "data.json"
    sizes = ["--sentences", "50"]
    monkeypatch.setattr("sys.argv", [measure_data.__file__, str(results), "--model_name_or_path", stories, *sizes])
    measure_data.main()
    rows = json.loads(results.read_text())["results"]
    assert list(rows) == ["50, first", "50, again"]
    assert [row["windows"] for row in rows.values()] == [50, 50]
    assert all(row["file"] > 0 and row["kept"] > 0 and row["counting"]["seconds"] > 0 for row in rows.values())
    assert list(tmp_path.iterdir()) == [results]


def test_memory_is_what_a_process_holds_and_no_mapped_file(tmp_path):
    process = psutil.Process()
    (tmp_path / "file").write_bytes(bytes(SIZE))
    with measure_data.watching(process) as mapped, (tmp_path / "file").open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert sum(content[:: mmap.PAGESIZE]) == 0
        content.close()
    with measure_data.watching(process) as held:
        content = bytearray(b"1") * SIZE
    assert len(content) == SIZE
    assert mapped["bytes"] < SIZE / 2 < held["bytes"]
