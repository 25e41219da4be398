"""Command line, thin over the package: `python -m sleepkit --help`."""

import argparse
import sys

from sleepkit import paths


def main(argv=None):
    """Run one command; returns the exit status: 0, 1 when work failed, 2 for bad input, 130 for Ctrl-C."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is missing", file=sys.stderr)
        return 130


def parser():
    top = argparse.ArgumentParser(prog="python -m sleepkit", description="From recordings to the paper's figures.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function, text):
        sub = commands.add_parser(
            function.__name__, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
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

    add = command(prepare, "cut recordings (EDF pairs, or prepared .npz nights) into labelled epochs, one .npz a night")
    add("source", help="folder of recordings")
    add("output", help="folder for the prepared nights")
    add("--channel", default="EEG Fpz-Cz", help="the channel to read")
    add("--wake-margin-minutes", type=float, default=30, help="wake kept before and after sleep")
    add("--seconds", type=float, default=30, help="seconds kept of each 30-s epoch")
    add("--jobs", type=int, help="nights prepared at the same time (as many as there are processors when not given)")

    add = command(run, "run a notebook, or all five in their order")
    add("notebook", help="prepare, stage1_edf20, stage1_edf78, stage2_prune, figures, or all")
    add("--profile", help="parameters from notebooks/profiles/PROFILE (the notebooks' defaults when not given)")
    add("-f", dest="parameters_file", metavar="FILE", help="yaml file of parameters")
    add(
        "-p",
        dest="parameters",
        nargs=2,
        metavar=("NAME", "VALUE"),
        action="append",
        default=[],
        help="one parameter; `-p profile mine` keeps the results of changed parameters apart",
    )

    add = command(bench, "measure against the customary way")
    add("name", choices=("prepare",), help="what to measure")
    return top


def simulate(arguments):
    from sleepkit.simulate import simulate as write

    pairs = write(
        arguments.output,
        subjects=range(arguments.subjects),
        nights=range(1, arguments.nights + 1),
        hours=arguments.hours,
        seed=arguments.seed,
    )
    print(f"{len(pairs)} nights in {arguments.output}")
    return 0


def fetch(arguments):
    from sleepkit.recordings import download

    try:
        files = download.fetch(arguments.output, dataset=arguments.dataset)
    except download.FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(files)} files of {arguments.dataset} are in {arguments.output}, checked")
    return 0


def prepare(arguments):
    from sleepkit import recordings

    nights = recordings.prepare(
        arguments.source,
        arguments.output,
        channel=arguments.channel,
        wake_margin_minutes=arguments.wake_margin_minutes,
        seconds=arguments.seconds,
        jobs=arguments.jobs,
    )
    counts = nights.status.value_counts()
    failed = nights[nights.status == "failed"]
    print(", ".join(f"{counts.get(status, 0)} nights {status}" for status in ("written", "unchanged", "failed")))
    for night in failed.itertuples():
        print(f"{night.night}: {night.problem}", file=sys.stderr)
    return int(len(failed) > 0)


def run(arguments):
    from sleepkit import notebooks

    parameters = {name: notebooks.from_yaml(value, f"-p {name}") for name, value in arguments.parameters}
    if arguments.notebook == "all" and arguments.parameters_file:
        raise ValueError("-f belongs to one notebook: name it, or use --profile with all")
    try:
        for name in notebooks.NAMES if arguments.notebook == "all" else [arguments.notebook]:
            notebooks.run(name, arguments.profile, arguments.parameters_file, parameters)
    except notebooks.NotebookFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def bench(arguments):
    from sleepkit.bench.prepare import run as measure

    measure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
