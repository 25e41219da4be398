"""Command line, thin over the package: `python -m sleepkit --help`."""

import argparse
import importlib
import sys

from sleepkit import __version__
from sleepkit.execution import WorkFailed, paths
from sleepkit.execution.extras import extras
from sleepkit.execution.jobs import PLACES, environment

OF_FOLDERS = ("foreign", "recorders", "shifts")  # of the benches


def main(argv=None):
    """Run one command; returns the exit status: 0, 1 when work failed, 2 for bad input, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no µ, a file name in another encoding
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(argv)
    try:
        with extras():
            return arguments.command(arguments) or 0
    except (WorkFailed, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, WorkFailed) else 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is missing", file=sys.stderr)
        return 130


# long: a list, one line per argument
def parser():
    top = argparse.ArgumentParser(prog="sleepkit", description="From recordings to the paper's figures.")
    top.add_argument("--version", action="version", version=f"sleepkit {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function, text):
        defaults = argparse.ArgumentDefaultsHelpFormatter
        sub = commands.add_parser(function.__name__, help=text, description=text, formatter_class=defaults)
        sub.set_defaults(command=function)
        return sub.add_argument

    add = command(simulate, "write simulated nights as EDF+ files")
    add("output", help="folder for the files")
    add("--subjects", type=int, default=8, help="number of subjects")
    add("--nights", type=int, default=1, choices=(1, 2), help="nights of each subject")
    add("--hours", type=float, default=8.0, help="length of a night")
    add("--seed", type=int, default=0, help="the same seed gives the same files")

    add = command(fetch, "download Sleep-EDF recordings from PhysioNet; verified files are skipped")
    add("output", nargs="?", default=paths.data(), help="folder for the files; SLEEPKIT_DATA changes the default")
    add("--dataset", default="edf20", choices=("edf20", "edf78"), help="39 or 153 nights")

    add = command(prepare, "cut recordings and their hypnograms into labelled epochs, one .npz a night")
    kinds = "Sleep-EDF's EDF pairs, prepared .npz nights, BIDS, or with --subject or --table any other data set"
    add("source", help=f"folder of recordings: {kinds}")
    add("output", help="folder for the prepared nights")
    several = "of one's own nights also a derivation, and several, the first that is there being read: 'C4-M1, C3-M2'"
    add("--channel", default="EEG Fpz-Cz", help=f"the channel to read; {several}")
    add("--wake-margin-minutes", type=float, default=30, help="wake kept before and after sleep")
    add("--seconds", type=float, default=30, help="seconds kept of each 30-s epoch")
    what = "take the whole data records of a recording that was cut short, and leave out what is scored beyond"
    add("--allow-truncated", action="store_true", help=what)
    add("--jobs", type=int, help="nights prepared at the same time (as many as there are processors when not given)")
    add("--recordings", help="one's own: pattern below the folder, '*.edf' or '**/*.edf'")
    add("--hypnograms", help="one's own: a recording's hypnogram, seen from its folder, '{stem}_score.txt'")
    add("--subject", help="one's own: regular expression of the person in a recording's path, 'S(\\d+)'")
    add("--table", help="one's own: csv with recording, hypnogram, subject and perhaps night, paths from the folder")
    add("--dataset", help="one's own: name of the data set ('own' when not given)")
    add("--rate", type=float, help="one's own: Hz to which signals are resampled (100 when not given)")
    add("--stages", help="one's own: yaml file of names of stages that are not known, 'their name: N2' a line")

    add = command(run, "run a notebook, or all five in their order")
    add("notebook", help="prepare, stage1_edf20, stage1_edf78, stage2_prune, figures, or all")
    add("--profile", help="parameters from notebooks/profiles/PROFILE (the notebooks' defaults when not given)")
    add("-f", dest="parameters_file", metavar="FILE", help="yaml file of parameters")
    one = {"dest": "parameters", "nargs": 2, "metavar": ("NAME", "VALUE"), "action": "append", "default": []}
    add("-p", **one, help="one parameter; `-p profile mine` keeps the results of changed parameters apart")
    add("--device", help="where networks are computed: cpu, cuda, mps (the best there is when not given)")
    add("--where", choices=PLACES, help="where folds run: in the notebook, in processes side by side, on a cluster")
    add("--max-minutes", type=float, help="stop each search or training after so long; the same command goes on")
    add("--if-stale", action="store_true", help="leave a notebook that ran after the last change of what it reads")

    add = command(score, "stages of a recording of one's own: night.csv, a hypnogram, a picture, sleep statistics")
    kinds = "EDF, EDF+, BDF, what MNE-Python reads, a prepared .npz night, or a folder of these"
    add("recording", nargs="?", help=kinds)
    add("--output", metavar="FOLDER", help="folder for the files (that of the recording when not given)")
    add("--channel", help="label, pattern ('*Fpz*') or derivation ('Fpz - Cz'); Fpz-Cz when not given")
    add("--model", help="network that a notebook saved, or an exported .onnx file (the package's own when not given)")
    kinds = "EDF+, csv, tsv, XML, .annot, one stage a line"
    add("--hypnogram", help=f"an expert's to compare with ({kinds}); for a folder of recordings, that of theirs")
    add("--stages", metavar="YAML", help="further names of stages in it, a line each: their name: N2")
    for name in ("--lights-off", "--lights-on"):
        add(name, metavar="TIME", help="clock (22:30) or seconds; SE, SOL and WASO count between the two")
    add("--no-context", dest="context", action="store_false", help="each epoch for itself, by the network alone")
    add("--no-adapt", dest="adapt", action="store_false", help="stage a night of unusual amplitude like any other")
    what = "read µV at the model's rate from standard input, raw float32 (little endian) or one number a line, and "
    what += "print the stage of every 30 s as they are complete"
    add("--stream", nargs="?", const="float32", choices=("float32", "text"), help=what)

    add = command(export, "write a trained network as ONNX files with a model card, or as C, in floats and integers")
    add("model", nargs="?", help="network that a notebook saved (the package's own when not given)")
    add("--output", default=paths.runs("exported"), help="folder for the files")
    add("--nights", help="prepared nights, which calibrate and check the integers; without them there are floats only")
    add("--c", action="store_true", help="write C for a microcontroller instead of ONNX files")

    add = command(adapt, "fine-tune a network on a few scored nights of one's own, and measure it on people held out")
    add("model", help="network that a notebook saved, or the name of one of the package's, such as edf20_first5s_L7")
    add("nights", help="folder of prepared nights of four people or more (see prepare)")
    add("folder", metavar="output", help="folder for the adapted network and adapted.csv, what was measured")
    add("--epochs", type=int, default=5, help="training epochs, at most")
    add("--device", default="cpu", help="where to train")

    add = command(release, "train a profile's network once more on everybody and write the weights of the package")
    add("profile", help="whose stage-1 and stage-2 notebooks have run with subjectwise folds")
    add("--output", default=paths.WEIGHTS, metavar="FOLDER", help="folder for the files")
    add("--dataset", default="edf20", help="whose networks: edf20, edf78 or a data set of one's own")
    add("--cells", type=int, default=7, help="depth L of the network")
    add("--device", default="auto", help="where to train: auto, cpu, cuda, mps")
    what = "stop after the training epoch in which they are over, to go on later (0: no limit)"
    add("--max-minutes", type=float, default=0, help=what)

    add = command(bench, "measure against the customary way, what a network costs, or how it stages labelled nights")
    names = "prepare", "search", "train", "prune", "infer", "wearable", *OF_FOLDERS
    add("name", choices=names, help="what to measure")
    what = "foreign: labelled recordings, prepared .npz or EDF with NAME-Hypnogram.edf; the others: prepared"
    add("folder", nargs="?", help=what)
    add("--model", dest="models", action="append", help="of folders: a network; may be given several times")
    add("--channel", help="of folders: as for score")
    return top


def simulate(arguments):
    from sleepkit.recordings.simulation import simulate as write

    subjects, nights = range(arguments.subjects), range(1, arguments.nights + 1)
    pairs = write(arguments.output, subjects=subjects, nights=nights, hours=arguments.hours, seed=arguments.seed)
    print(f"{len(pairs)} nights in {arguments.output}")


def fetch(arguments):
    from sleepkit.recordings import download

    files = download.fetch(arguments.output, dataset=arguments.dataset)
    print(f"{len(files)} files of {arguments.dataset} are in {arguments.output}, checked")


def prepare(arguments):
    from sleepkit import recordings

    settings = _of(arguments, "channel", "wake_margin_minutes", "seconds", "jobs", "allow_truncated")
    own = _of(arguments, "recordings", "hypnograms", "subject", "table", "dataset", "rate", "stages")
    if own := {name: value for name, value in own.items() if value is not None}:
        settings["layout"] = recordings.Layout(**own)
    nights = recordings.prepare(arguments.source, arguments.output, **settings)
    counts = nights.status.value_counts()
    print(", ".join(f"{counts.get(status, 0)} nights {status}" for status in ("written", "unchanged", "failed")))
    if "dataset" in nights:
        print(*recordings.prepared_of(nights), sep="\n")
    for night in nights[nights.problem != ""].itertuples():
        print(f"{night.night}: {night.problem}", file=sys.stderr)
    return int("failed" in counts)


def _of(arguments, *names):
    return {name: getattr(arguments, name) for name in names}


def run(arguments):
    _require_checkout("notebooks")
    from sleepkit.execution import notebooks

    if arguments.notebook == "all" and arguments.parameters_file:
        raise ValueError("-f belongs to one notebook: name it, or use --profile with all")
    if arguments.if_stale and (arguments.parameters_file or arguments.parameters):
        raise ValueError("--if-stale knows profiles only: it does not go with -f and -p")
    parameters = {name: notebooks.from_yaml(value, f"-p {name}") for name, value in arguments.parameters}
    if arguments.device:
        from sleepkit.experiments.device import choose

        arguments.device = choose(arguments.device)
    told = {name: value for name, value in _of(arguments, *notebooks.OPTIONS).items() if value is not None}
    with environment({f"SLEEPKIT_{name.upper()}": str(value) for name, value in told.items()}):
        for name in notebooks.NAMES if arguments.notebook == "all" else [arguments.notebook]:
            if arguments.if_stale and not notebooks.is_stale(name, arguments.profile or "demo"):
                print(f"{name}: nothing is newer than its last run")
            else:
                notebooks.run(name, arguments.profile, arguments.parameters_file, parameters)


def _require_checkout(what):
    if not paths.checkout():
        cure = "git clone --depth 1 ADDRESS sleepkit && cd sleepkit && make"
        raise ValueError(f"{what} are in the repository and not in the installed package: {cure}")


def score(arguments):
    if (arguments.stream is None) == (arguments.recording is None):
        raise ValueError("name a recording or a folder of recordings, or give --stream to read standard input")
    if arguments.stream:
        return _stream(arguments)
    from sleepkit.scoring.report import score_files

    settings = "output", "model", "channel", "context", "hypnogram", "stages", "lights_off", "lights_on", "adapt"
    score_files(arguments.recording, **_of(arguments, *settings))


def _stream(arguments):
    from sleepkit.scoring.familiarity import unadapted
    from sleepkit.scoring.model import describe, load_model
    from sleepkit.scoring.stream import score_stream

    if arguments.output or arguments.channel or arguments.hypnogram:
        raise ValueError("--stream reads one channel and prints: --output, --channel and --hypnogram do not go with it")
    if sys.stdin is None:
        raise ValueError("standard input is closed: pipe the samples into it")
    model, context = load_model(arguments.model), arguments.context
    model = model if arguments.adapt else unadapted(model)
    print(*describe(model), sep="\n", file=sys.stderr)
    if context and model.context is None:
        print("the model holds no context: stages are the network's alone", file=sys.stderr)
    try:
        n, left, mean, largest = score_stream(sys.stdin.buffer, sys.stdout, model, arguments.stream, context=context)
    except BrokenPipeError:  # who reads the stages has seen enough
        sys.stdout = None
        return
    print(f"{n} epochs, latency {mean:.1f} ms on average, at most {largest:.1f} ms", file=sys.stderr)
    if left:
        print(f"the last {left} samples are no whole epoch and were left out", file=sys.stderr)


def export(arguments):
    from sleepkit.scoring.model import DEFAULT

    write = importlib.import_module(f"sleepkit.scoring.{'c' if arguments.c else 'onnx'}_export").export
    try:
        checks = write(arguments.model or DEFAULT, arguments.output, arguments.nights)
    except ArithmeticError as error:
        raise WorkFailed(error) from error
    for row in checks.itertuples():
        print(f"{row.claim}: {row.measured} ({row.expected}): {'holds' if row.holds else 'does not hold'}")
    print(f"written to {arguments.output}" + ", with a model card" * (not arguments.c))
    return int(not checks.holds.all())


def adapt(arguments):
    from sleepkit.experiments import adapt as adapting

    table = adapting.adapt(**_of(arguments, "model", "nights", "folder", "epochs", "device"))
    print(*adapting.described(table, arguments.model), sep="\n")
    print(f"written: {arguments.folder}/adapted.safetensors and .json for score --model, adapted.csv")


def release(arguments):
    _require_checkout("the notebooks' runs that a release needs")
    from sleepkit.experiments.release import release as write

    settings = _of(arguments, "dataset", "cells", "device", "max_minutes")
    for path in write(paths.plain(arguments.profile), arguments.output, **settings):
        print(f"{path}.safetensors")


def bench(arguments):
    if (arguments.name in OF_FOLDERS) == (arguments.folder is None):
        raise ValueError(f"bench {', '.join(OF_FOLDERS)} want a folder of labelled nights; the others take none")
    given = _of(arguments, "folder", "models", "channel") if arguments.folder else {}
    importlib.import_module(f"sleepkit.bench.{arguments.name}").run(**given)


if __name__ == "__main__":
    sys.exit(main())
