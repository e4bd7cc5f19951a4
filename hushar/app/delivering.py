"""Delivering what a server has left, as its configuration says where it is and where it goes."""

from pathlib import Path

from hushar.app.preparing import PreparedLog
from hushar.app.sidecars import log_settings, spool_dir
from hushar.errors import ConfigurationError
from hushar.sidecars.offline import Pass, deliver_left


async def deliver(prepared: PreparedLog) -> tuple[Path, Pass]:
    """One pass over the spool: where that is, and what came of it. Raises ConfigurationError."""
    directory = spool_dir(prepared)
    try:
        done = await deliver_left(log_settings(prepared), prepared.log_sink, directory)
    except ConfigurationError as error:
        # A sink, and the spool, know the key that is at fault but not the file.
        raise ConfigurationError(
            problem if problem.file else prepared.loaded.problem(problem.key, problem.message)
            for problem in error.problems
        ) from error
    return directory, done
