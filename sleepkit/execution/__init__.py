"""Where and how work runs."""


class WorkFailed(RuntimeError):
    """Work that did not end well though the input is right: a command says why and ends with status 1."""
