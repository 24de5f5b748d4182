"""What killed writers leave in a run folder goes at the next start; nothing else does."""

from lib.atomic import is_temporary, remove_leftovers, replacing


def test_what_a_killed_writer_left_is_removed_at_any_depth(tmp_path):
    names = ["config.json", "plots/curves.png", "tensorboard/train/kept", "checkpoints/ckpt-1.json"]
    for name in names:
        with replacing(tmp_path / name) as temporary:
            temporary.write_text("half")
            temporary.with_name(temporary.name + "~").write_text("half")  # survives the block
        (tmp_path / name).unlink()
        temporary.with_name(temporary.name + "~").rename(temporary)
        assert is_temporary(temporary)
    remove_leftovers(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_of_others_stay(tmp_path):
    names = [
        "config.json",
        ".lock",
        ".ckpt-1.json",
        ".notes.partial.txt",  # ours have eight digits before the word
        "a.0123abcd.partial.csv",  # and are hidden
        ".a.0123abcd.partially.csv",
    ]
    for name in names:
        (tmp_path / name).write_text("whole")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
