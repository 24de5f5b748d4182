import pytest

from lib.reporting import plots
from lib.reporting.rendering import Renderer, render


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer()
    yield renderer
    renderer.close()


def figure(text):
    made = plots.new_figure(1.0)
    made.text(0.1, 0.5, text)
    return made


def test_figures_are_what_they_would_be_here_in_their_order(renderer):
    results = [renderer.begin(figure(text)) for text in ("one", "two")]
    one, two = (each.result() for each in results)
    assert (one, two) == (render(figure("one")), render(figure("two")))
    assert one.whole != two.whole and one.size == (800, 100)


def test_an_error_of_the_drawing_is_raised_here_and_the_next_figure_is_rendered(renderer):
    with pytest.raises(ValueError, match="frac"):
        renderer.begin(figure(r"$\frac{1$")).result()
    assert renderer.begin(figure("next")).result() == render(figure("next"))


def test_a_process_that_is_gone_is_an_error_and_the_next_figure_has_another(renderer):
    renderer.begin(figure("one")).result()
    renderer._process.kill()
    with pytest.raises(ChildProcessError, match="SIGKILL"):
        renderer.begin(figure("two")).result()
    assert renderer.begin(figure("three")).result() == render(figure("three"))


def test_the_process_ends_with_what_it_is_asked_by(renderer):
    renderer.begin(figure("one")).result()
    process = renderer._process
    process.stdin.close()  # as the system does where the other end is killed
    assert process.wait(timeout=60) == 0
