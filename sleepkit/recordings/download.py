"""Sleep-EDF from PhysioNet: each file is there whole and checked, or it is named in the error."""

import logging
import time
from importlib.util import find_spec
from pathlib import Path

from sleepkit.execution import WorkFailed
from sleepkit.execution.extras import extras
from sleepkit.execution.paths import data, progress
from sleepkit.recordings.sleep_edf import nights_of

BASE_URL = "https://physionet.org/files/sleep-edfx/1.0.0/sleep-cassette"
BACK_OFF = (1, 2, 4, 8)  # s of waiting before another try; twice as long every time, so that a busy server gets room
CHUNK = 1 << 16  # bytes; pooch's own 1 kB would spend the time on progress bars


class FetchError(WorkFailed):
    """Some files could not be fetched; those that could are kept."""


def fetch(
    output_dir: str | Path | None = None, dataset: str = "edf20", base_url: str = BASE_URL, registry: dict | None = None
) -> list[Path]:
    """Download a data set; files that are there and have the right SHA-1 are left, damaged ones fetched again.

    output_dir : folder; None is `SLEEPKIT_DATA`, else `data/` in the repository
    dataset : "edf20" (39 nights, about 2 GB) or "edf78" (153 nights, about 7.5 GB)
    base_url, registry : folder of the files and {file name: SHA-1} of what to fetch; None is MNE's list of `dataset`
    returns the paths, sorted. Raises FetchError, after all files were tried, naming those that failed and why."""
    with extras():
        import pooch  # noqa: F401  (before the list of files: MNE, which has it, comes with the same extra)
    folder = data() if output_dir is None else Path(output_dir)
    registry = sha1_of(dataset) if registry is None else registry
    failed, waits = {}, BACK_OFF
    for name in progress(sorted(registry), desc=f"{dataset} files", unit="file"):
        problem, answered = _fetch_one(folder, name, registry[name], base_url, waits)
        waits = BACK_OFF if answered else ()  # while nobody answers, one try a file: 300 would else wait for an hour
        if problem:
            failed[name] = problem
    if failed:
        lines = [f"{len(failed)} of {len(registry)} files could not be fetched into {folder}:"]
        lines += [f"  {name}: {problem}" for name, problem in failed.items()]
        raise FetchError("\n".join([*lines, "What is there is kept: run the same command again to fetch the rest"]))
    return [folder / name for name in sorted(registry)]


def sha1_of(dataset):
    """{file name: SHA-1} of a data set's files, from the list of MNE, which is not imported: that takes a second."""
    recordings = {night[:6] for night in nights_of(dataset)}
    sums = Path(find_spec("mne").origin).parent / "datasets" / "sleep_physionet" / "SHA1SUMS"
    pairs = (line.split() for line in sums.read_text().splitlines() if line.strip())
    return {name: sha1 for sha1, name in pairs if name[:6] in recordings and name.endswith(".edf")}


def _fetch_one(folder, name, sha1, base_url, waits):
    """What is wrong in the end ("" if nothing), and whether the server answered at all."""
    with extras():
        import pooch
        import requests
    pooch.get_logger().setLevel(logging.WARNING)  # its notices would break the progress bar
    url = f"{base_url.rstrip('/')}/{name}"
    for wait in (*waits, 0):
        bar, answered = progress(total=1, desc=name, unit="B", unit_scale=True, leave=False), True
        try:
            download = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK)  # it puts the bar's true total in
            pooch.retrieve(url, f"sha1:{sha1}", fname=name, path=folder, downloader=download)
            return "", True
        except requests.HTTPError as error:
            status = error.response.status_code
            problem = f"the server answers {status} for {url}; check base_url"
            if 400 <= status < 500 and status not in (408, 429):  # asking again does not change these
                return problem, True
        except requests.exceptions.ChunkedEncodingError:
            problem = f"the connection was cut while reading {url}; check the network"
        except requests.RequestException as error:
            answered, problem = False, f"no answer from {url} ({type(error).__name__}); check the network and base_url"
        except ValueError:  # pooch's word for a wrong sum
            problem = f"what {url} serves has another SHA-1 than {sha1}; check base_url or try later"
        except OSError as error:
            return f"cannot be written ({error}); check the folder and the space on its disk", True
        finally:
            bar.close()
        if wait:
            time.sleep(wait)
    return problem, answered
