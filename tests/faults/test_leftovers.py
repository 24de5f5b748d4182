"""What killed writers leave in a run folder goes at the next start; nothing else does."""

from lib.system.atomic import is_temporary, remove_leftovers, replacing


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


def test_what_other_processes_are_writing_stays(tmp_path):
    other = (".evaluation.01234567.partial.json", "explanations/.cat.01234567.partial.png")
    ours = (".result.01234567.partial.json", "plots/.evaluation.01234567.partial.png")
    for name in other + ours:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path, of_others=("evaluation", "explanations"))
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(tmp_path / name for name in other)


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
