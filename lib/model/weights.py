"""The first weights of the backbone: from a file, embedded, or downloaded."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.config import setting, user_cache, weight_file
from lib.errors import UserError
from lib.system.downloads import DownloadError, discard, download
from lib.system.file_lock import exclusive_lock
from lib.system.progress import Progress

if TYPE_CHECKING:  # weights are fetched before Keras and TensorFlow are started
    import keras

EMBEDDED = Path(__file__).parent / "embedded" / "mobilenet_v2_0.35_96_drawn.weights.h5"

IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}_no_top.h5"
)
IMAGENET_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
IMAGENET_SIZES = (96, 128, 160, 192, 224)
HDF5 = b"\x89HDF"  # what such a file begins with
ANSWER_WITHIN = 7.0  # seconds


def load_pretrained(
    backbone: "keras.Model",
    weights: str,
    alpha: float,
    progress: Progress,
    name: str = "mobilenet_v2",
) -> None:
    """Gives the backbone its first weights.

    Args:
        backbone: of width `alpha`.
        weights: "imagenet" and "drawn" (of MobileNetV2 alone), "none", or the path of a weight file
            without top.
        alpha: the width, for choosing the file and for explaining why another does not fit.
        progress: how a download is reported.
        name: of the backbone.

    Raises:
        UserError: there is no such file, it cannot be read, or it is of another network.
    """
    path = fetch(weights, alpha, backbone.input_shape[1], progress)
    if path is None:
        return
    try:
        with warnings.catch_warnings():
            # Of a file that does not fit Keras warns layer by layer before it raises.
            warnings.simplefilter("ignore")
            backbone.load_weights(str(path))
    except OSError as error:
        again = (
            "remove it, so that it is downloaded again" if weights == "imagenet" else "give another"
        )
        raise UserError(
            f"{setting('weights', weights)}: {path} cannot be read ({_first_sentence(error)}):"
            f" {again}"
        ) from error
    except (ValueError, KeyError) as error:
        received, why = setting("weights", weights), _first_sentence(error)
        if not name.startswith("mobilenet"):
            raise UserError(
                f"{received} does not fit {name} without top ({why}): give the file of this"
                f" network, or the {setting('backbone')} that the file is of"
            ) from error
        raise UserError(
            f"{received} does not fit {name} without top at"
            f" {setting('alpha', alpha)} ({why}): give the {setting('alpha')}"
            " that the file was made with, or another file"
        ) from error


def fetch(weights: str, alpha: float, size: int, progress: Progress) -> Path | None:
    """The file of the first weights, downloaded where that is needed; None where there is none.

    Args:
        weights: "imagenet", "drawn", "none", "own" (in the backbone's own file already), or the
            path of a weight file without top.
        alpha: width multiplier of MobileNetV2.
        size: of the images, in pixels.
        progress: how a download is reported.

    Raises:
        UserError: there is no such file, or it cannot be downloaded.
    """
    if weights in ("none", "own"):
        return None
    if weights == "drawn":
        return EMBEDDED
    if weights == "imagenet":
        return _imagenet(alpha, size, progress)
    return weight_file(weights)


@contextlib.contextmanager
def keras_downloads(progress: Progress) -> Iterator[None]:
    """Lets Keras get its files by our download: with a lock, a limit to waiting, and going on.

    Keras has no public place for it, so that its `get_file` is another function meanwhile.

    Args:
        progress: how a download is reported.

    Raises:
        UserError: within it, that a file cannot be downloaded, or is not the one that Keras knows.
    """
    from keras.src.utils import file_utils

    def get_file(
        fname: str, origin: str, cache_subdir: str = "", file_hash: str = "", **_: Any
    ) -> str:
        return str(_downloaded(origin, user_cache() / "weights" / fname, file_hash, progress))

    before, file_utils.get_file = file_utils.get_file, get_file
    try:
        yield
    finally:
        file_utils.get_file = before


def _first_sentence(error: Exception) -> str:
    """Of the paragraph in which Keras says what does not fit."""
    return " ".join(str(error).split()).split(". ")[0]


def _imagenet(alpha: float, size: int, progress: Progress) -> Path:
    """Keras' ImageNet weights, downloaded once; those of 224 pixels serve all other sizes."""
    if alpha not in IMAGENET_ALPHAS:
        known = ", ".join(map(str, IMAGENET_ALPHAS))
        raise UserError(
            f"{setting('alpha', alpha)}: ImageNet weights exist for {known}; give one of these, or"
            f" {setting('weights')}"
        )
    url = IMAGENET_URL.format(alpha=alpha, size=size if size in IMAGENET_SIZES else 224)
    try:
        return _downloaded(url, user_cache() / "weights" / Path(url).name, "", progress)
    except UserError as error:
        raise UserError(
            f"{error}, or take {setting('weights', 'drawn')} with {setting('alpha', 0.35)}"
        ) from error


def _downloaded(url: str, path: Path, digest: str, progress: Progress) -> Path:
    """A file of weights, downloaded once.

    Args:
        url: where it is.
        path: where it is kept.
        digest: SHA-256 or MD5, in hexadecimal digits; "" where none is known.
        progress: how a download is reported.

    Raises:
        UserError: it cannot be downloaded, or has another digest.
    """
    part = path.with_name(f"{path.name}.part")
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(path.with_name(f".{path.name}.lock"), progress):
                if not path.exists():
                    download(url, part, HDF5, progress, ANSWER_WITHIN)
                    _require_digest(part, digest)
                    part.rename(path)
                    discard(part)
        except (DownloadError, OSError) as error:
            raise UserError(
                f"{setting('weights', 'imagenet')}: {url} could not be downloaded to {path}"
                f" ({error}): put the file there, or give another one as"
                f" {setting('weights', 'FILE')}"
            ) from error
    return path


def _require_digest(part: Path, digest: str) -> None:
    if not digest:
        return
    content = part.read_bytes()
    found = (hashlib.sha256 if len(digest) == 64 else hashlib.md5)(content).hexdigest()
    if found != digest:
        discard(part)
        raise DownloadError(f"what came has the digest {found} and not {digest}")
