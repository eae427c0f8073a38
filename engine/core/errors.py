"""The error tree. Every message is one line that a user can act on.

`UsageError`   the run cannot start: settings, case list, output folder, cluster layout. Exit code 2.
`ServiceError` a service turns the run away on its way: nothing is lost, and the run stops. Exit code 2.
`CaseError`    one case is unusable: it becomes a `failed` manifest row, the others go on.
`OutputError`  the output cannot be written (disk full, permission lost): the run stops and can be resumed. Exit code 4.
`StageBug`     anything else, with the case it happened on. This one is ours, and carries its traceback.
"""

from __future__ import annotations

EXIT_DONE, EXIT_BUG, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_OUTPUT, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130


class LesionForgeError(Exception):
    """Root of every error raised on purpose. `str(error)` is one line."""

    exit_code = EXIT_BUG

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class UsageError(LesionForgeError):
    """The run cannot start as it was asked for."""

    exit_code = EXIT_USAGE


class SettingsError(UsageError):
    """An unknown key, a value of the wrong kind, or a combination that cannot work."""


class CaseListError(UsageError):
    """The case list is unreadable, or its rows contradict each other."""


class RunConflictError(UsageError):
    """The output folder belongs to another run, or to another driver that is still alive."""


class LayoutError(UsageError):
    """The cluster can never place the pools that the settings ask for."""


class ServiceError(UsageError):
    """A service that a run asks turns all of it away, such as for its key; mended, the same command continues."""


class CaseError(LesionForgeError):
    """An expected failure of one case. The stage that raised it is recorded beside it."""


class VolumeError(CaseError):
    """A volume that is missing, corrupt, or not a CT that can be used."""


class OrganMapError(CaseError):
    """An organ map that does not fit its volume."""


class ReportError(CaseError):
    """A lesion report with a value outside the vocabulary."""


class PlacementError(CaseError):
    """No place for the lesion in the organ asked for."""


class OutputError(LesionForgeError):
    """The output folder does not take any more writes; the same command continues the run once it does."""

    exit_code = EXIT_OUTPUT


class ServiceLostError(OutputError):
    """An actor that the run asks cannot do its work, whatever the case; the same command continues once it can."""


class StageBug(LesionForgeError):
    """An unexpected exception, named after its stage and sample."""

    def __init__(self, stage: str, sample_id: str, cause: BaseException) -> None:
        super().__init__(f"{stage}: {sample_id}: {type(cause).__name__}: {cause}")
        self.stage = stage
        self.sample_id = sample_id

    def __reduce__(self) -> tuple[type[LesionForgeError], tuple[str]]:
        return LesionForgeError, (str(self),)
