"""Real time: the same stages as a forward pass over the whole night, as they arrive, in memory that does not grow."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from recording_files import CONTEXT, brain, save_tiny

from sleepkit.__main__ import main
from sleepkit.epochs import STAGES
from sleepkit.evaluation.context import Context, advance, smooth
from sleepkit.execution.paths import ROOT
from sleepkit.scoring.model import Model, load_model
from sleepkit.scoring.stream import HEADER, score_stream

COMMAND = [sys.executable, "-m", "sleepkit", "score", "--model"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


def stream(data, model, form="float32", **how):
    sink = io.StringIO()
    counts = score_stream(io.BytesIO(data), sink, model, form, **how)
    return pd.read_csv(io.StringIO(sink.getvalue())), counts


def test_it_is_the_forward_pass_over_the_night(saved):
    model, x = load_model(saved), np.float32(brain(900, 100))
    alone = model.probabilities(x.reshape(-1, 500)).reshape(-1, 6, 5).mean(axis=1)
    context = Context(np.array(CONTEXT["transition"]), np.array(CONTEXT["prior"]))
    for how, expected in (({}, smooth(alone, context, forward_only=True)), ({"context": False}, alone)):
        found, counts = stream(x.astype("<f4").tobytes(), model, **how)
        assert list(found) == list(HEADER) and found["onset"].tolist() == list(range(0, 900, 30))
        np.testing.assert_allclose(found[list(STAGES)], expected, atol=1e-4)
        assert found["stage"].tolist() == [STAGES[i] for i in expected.argmax(1)]
        assert counts[:2] == (30, 0) and 0 < counts[2] <= counts[3]


def test_one_step_is_what_a_pass_does():
    context = Context(np.array(CONTEXT["transition"]), np.array(CONTEXT["prior"]))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 40)
    belief, beliefs = None, []
    for row in probabilities:
        belief = advance(belief, row, context)
        beliefs.append(belief)
    np.testing.assert_allclose(beliefs, smooth(probabilities, context, forward_only=True), rtol=1e-12)


def test_numbers_are_read_as_samples(saved):
    model, x = load_model(saved), np.float32(brain(95, 100))
    raw, counts = stream(x.astype("<f4").tobytes(), model)
    text, text_counts = stream("\n".join(f"{value:.9g}" for value in x).encode(), model, "text")
    assert raw.iloc[:, :-1].equals(text.iloc[:, :-1])
    assert counts[:2] == text_counts[:2] == (3, 500)


def test_what_cannot_be_scored(saved):
    x = np.float32(brain(120, 100))
    x[3000:6000] = 5
    x[6000:9000] = np.nan
    found, _ = stream(x.tobytes(), load_model(saved))
    assert found["stage"].isin(["?"]).tolist() == [False, True, True, False]
    assert found.loc[1:2, list(STAGES)].isna().all(axis=None)


def test_a_signal_that_stays_off_zero_is_told_once(saved, capsys):
    x = np.float32(brain(180, 100))
    stream((x + 1000).tobytes(), load_model(saved))
    told = capsys.readouterr().err
    assert told.startswith("epochs 1 to 3 lie more than 50 µV from zero") and told.count("\n") == 1
    x[:6000] += 1000  # two epochs may be movements
    stream(x.tobytes(), load_model(saved))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", [b"12\nhello\n", b"1,2\n", b"\x00\xff" * 600])
def test_what_is_no_number(saved, text):
    with pytest.raises(ValueError, match="line [12]: .* is no number; expected one sample"):
        stream(text, load_model(saved), "text")


@pytest.mark.parametrize("data", [b"", b"\0\0\0", struct.pack("<f", 1.0)])
def test_less_than_an_epoch(saved, data):
    found, counts = stream(data, load_model(saved))
    assert len(found) == 0 and counts[:2] == (0, len(data) // 4)


def test_a_stage_comes_before_the_next_epoch_is_sent(saved):
    """The process answers every epoch while the sender waits."""
    x = np.float32(brain(90, 100)).reshape(3, 3000)
    command = [*COMMAND, str(saved), "--stream"]
    with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, stderr=-1, bufsize=0) as process:
        assert process.stdout.readline().decode().strip() == ",".join(HEADER)
        for number, epoch in enumerate(x):
            raw = epoch.tobytes()
            for part in (raw[:5000], raw[5000:5001], raw[5001:]):  # a pipe cuts where it likes
                process.stdin.write(part)
            line = process.stdout.readline().decode().strip().split(",")
            assert line[0] == str(30 * number) and line[1] in STAGES and 0 < float(line[-1]) < 5000
        process.stdin.write(raw[:400])
        process.stdin.close()
        told = process.stderr.read().decode()
        assert process.wait() == 0
    assert "3 epochs, latency" in told and "the last 100 samples are no whole epoch" in told
    assert "trained on: nothing at all" in told


def test_the_reader_may_go(saved):
    read, write = os.pipe()
    command = [*COMMAND, str(saved), "--stream", "text"]
    with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=write, stderr=-1) as process:
        os.close(write)
        os.close(read)
        _, told = process.communicate(b"1\n" * 4000)
        assert process.returncode == 0 and b"Traceback" not in told and b"Error" not in told


def test_memory_does_not_grow_over_fifteen_hundred_epochs():
    """The network is left out, its memory is PyTorch's: what the stream itself keeps is measured."""
    epoch = np.float32(brain(30, 100))
    logits = np.random.default_rng(0).normal(size=(6, 5))
    context = Context(np.array(CONTEXT["transition"]), np.array(CONTEXT["prior"]))
    model = Model("fixed", lambda x: logits[: len(x)], 100.0, 500, {}, context)
    read, write = os.pipe()
    held = []

    class Sink:
        lines = 0

        def write(self, text):
            self.lines += text.count("\n")
            if self.lines in (301, 1_801) and text.endswith("\n"):
                held.append(tracemalloc.get_traced_memory()[0])

        def flush(self):
            pass

    def feed():
        raw = epoch.tobytes()
        with open(write, "wb") as pipe:
            pipe.writelines(raw for _ in range(1_800))

    sender, sink = threading.Thread(target=feed), Sink()
    tracemalloc.start()
    try:
        sender.start()
        with open(read, "rb", buffering=0) as source:
            counts = score_stream(source, sink, model)
        sender.join()
    finally:
        tracemalloc.stop()
    assert counts[0] == 1_800 and len(held) == 2
    assert held[1] - held[0] < 7_500, held  # bytes; one epoch alone has 12,000


@pytest.mark.slow
def test_memory_of_the_process_does_not_grow(saved):
    """With the network: 10,000 epochs through the command, resident memory after 1,000 and at the end."""
    raw = np.float32(brain(30, 100)).tobytes()
    command = [*COMMAND, str(saved), "--stream"]
    with subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        held = {}
        for number in range(10_000):
            process.stdin.write(raw)
            process.stdin.flush()
            process.stdout.readline()
            if number in (999, 9_999):
                with open(f"/proc/{process.pid}/status") as status:
                    held[number] = int(next(line for line in status if line.startswith("VmRSS")).split()[1])
        process.stdin.close()
        assert process.wait() == 0
    assert held[9_999] - held[999] < 8_000, held  # kB


@pytest.mark.parametrize("wrong", [["--output", "x"], ["--channel", "x"], ["--hypnogram", "x"]])
def test_options_that_do_not_go_with_a_stream(wrong, capsys):
    assert main(["score", "--stream", *wrong]) == 2
    assert "do not go with it" in capsys.readouterr().err
