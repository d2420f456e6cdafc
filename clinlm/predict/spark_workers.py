"""Files answered by the executors of Spark, a task each; what is lost with an executor, Spark starts again."""

import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.extras import imported
from clinlm.config.private_caches import private_folder
from clinlm.config.ray_cluster import LOCAL
from clinlm.predict.settings import StreamSettings
from clinlm.predict.shard_run import Outcome, ShardJob, run_job

S = TypeVar("S", bound=StreamSettings)

_ATTEMPTS: Final = 4
"""Times that a task is tried whose process, or whose machine, was lost: as Spark does on clusters."""
_WAITING: Final = 256
"""Tasks that Spark is given at once: a thread waits for each."""
_REACH_S: Final = 5.0
_LOST: Final = ("exited unexpectedly", "ExecutorLostFailure")
_QUIET: Final = """rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = spark: %p %c{1}: %m%n
"""
"""log4j2.properties of a Spark on this machine: it logs every retry, with the stack of Java."""


def answered_by_spark(jobs: Sequence[ShardJob[S]], address: str, workers: int) -> Iterator[tuple[ShardJob[S], Outcome]]:
    """Yield jobs with their outcomes, as they end. Each is a job of Spark with one task, which has one core.

    Args:
        address: of a master, as Spark writes it (`spark://HOST:PORT`, `yarn`, `local[2]`); `LOCAL` for this machine.
        workers: processes of a Spark on this machine.

    Raises:
        MissingExtraError: Spark is not installed.
        ConfigError: it cannot start: there is no Java, or no master at the address.
    """
    spark = imported("pyspark", "spark")
    with _application(spark, address, workers) as context:
        pool = ThreadPoolExecutor(min(len(jobs), _WAITING))
        try:
            waiting = {pool.submit(_outcome, context, job): job for job in jobs}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # first, or a thread whose job is cancelled begins another
            with suppress(Exception):  # of a context that Spark has stopped
                context.cancelAllJobs()
            pool.shutdown()


def _outcome(context: Any, job: ShardJob[S]) -> Outcome:
    java_error: type[Exception] = imported("py4j.protocol", "spark").Py4JJavaError
    try:
        (outcome,) = context.parallelize([job], 1).map(run_job).collect()
    except java_error as error:
        told = str(getattr(error, "java_exception", error))
        if "ModuleNotFoundError" in told:
            raise ConfigError(
                "every executor must have clinlm and what the model needs, got one that cannot import it; install it "
                "on every machine, and name its Python in PYSPARK_PYTHON"
            ) from error
        if not any(word in told for word in _LOST):
            raise
        return DataError(
            "its process must live until the file is answered, got none that did, perhaps for lack of memory; make the "
            "file smaller, or give executors more memory"
        )
    found: Outcome = outcome
    return found


@contextmanager
def _application(spark: Any, address: str, workers: int) -> Iterator[Any]:
    """Start an application of Spark, and end it; of one on this machine no file is left."""
    local = address.startswith(LOCAL)
    settings = {
        "spark.app.name": "clinlm predict",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    cores = re.fullmatch(rf"{LOCAL}(?:\[(\d+|\*)\])?", address)  # with which Spark would try everything once
    settings["spark.master"] = address if cores is None else f"{LOCAL}[{cores[1] or workers},{_ATTEMPTS}]"
    if local:
        folder = Path(private_folder())
        folder.mkdir(mode=0o700)
        (folder / "log4j2.properties").write_text(_QUIET, encoding="utf-8")
        os.environ |= {"SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
        settings |= {"spark.local.dir": str(folder), "spark.authenticate": "true"}  # other users may be on the machine
    elif address.startswith("spark://"):
        _require_master(address)
    try:
        context = spark.SparkContext(conf=spark.SparkConf().setAll([*settings.items()]))
    except Exception as error:  # of Java, through another library
        reason = str(getattr(error, "java_exception", error)).partition("\n")[0]
        raise ConfigError(
            f"Spark must start, with Java 17 and an address such as {LOCAL}, {LOCAL}[2] or spark://HOST:PORT, got "
            f"address={address} ({reason}); apt-get install openjdk-17-jre-headless, or set JAVA_HOME or address"
        ) from error
    try:
        yield context
    finally:
        context.stop()


def _require_master(address: str) -> None:
    """Raise ConfigError if nothing listens at spark://HOST:PORT (of several the first): Spark tries for a minute."""
    host, _, port = address.removeprefix("spark://").partition(",")[0].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"address must be that of a running master of Spark, got {address} ({error}); start one (start-master.sh), "
            f"set address=spark://HOST:PORT, or address={LOCAL} for this machine alone"
        ) from None
