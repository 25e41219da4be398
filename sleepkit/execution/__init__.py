"""Where and how work runs."""


class WorkFailed(RuntimeError):
    """Work that did not end well though the input is right: a command says why and ends with status 1."""


class TimeOver(WorkFailed):
    """The minutes that a run may take were over before all was done."""
