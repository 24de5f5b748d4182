from lib.reporting.layer_table import as_markdown, as_text

ROWS = [("Conv1", "1-2", 992, 0), ("block_16", "143-150", 320_640, 318_080), ("head", "", 1281, 1)]


def test_the_table_has_a_line_per_block_on_the_terminal():
    assert as_text(ROWS).splitlines() == [
        "  block              layers  parameters     trained",
        "  Conv1                 1-2         992      frozen",
        "  block_16          143-150     320,640     318,080",
        "  head                            1,281           1",
    ]


def test_the_table_has_a_line_per_block_in_tensorboard():
    assert as_markdown(ROWS).splitlines() == [
        "| block | layers | parameters | trained |",
        "| --- | ---: | ---: | ---: |",
        "| Conv1 | 1-2 | 992 | frozen |",
        "| block_16 | 143-150 | 320,640 | 318,080 |",
        "| head |  | 1,281 | 1 |",
    ]
