"""Files answered by the workers of a Ray cluster, a task each; what is lost with a worker, Ray starts again."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.ray_cluster import connected, load_ray
from clinlm.predict.settings import StreamSettings
from clinlm.predict.shard_run import Outcome, ShardJob, run_job

S = TypeVar("S", bound=StreamSettings)

_RETRIES = 3
"""Times that a task is started again whose worker, or whose machine, was lost."""
_WAITING = 1_000
"""Tasks that Ray is given at once: waiting for one takes a time that grows with them."""


def answered_by_ray(jobs: Sequence[ShardJob[S]], address: str, workers: int) -> Iterator[tuple[ShardJob[S], Outcome]]:
    """Yield jobs with their outcomes, as they end. A worker has one core, and one process.

    Args:
        address: see `connected`.
        workers: processes of a Ray on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no cluster at the address.
    """
    ray = load_ray(address)
    with connected(ray, address, workers):
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(run_job)
        left, waiting = iter(jobs), dict[Any, ShardJob[S]]()
        while True:
            for job in left:
                waiting[task.remote(job)] = job
                if len(waiting) == _WAITING:
                    break
            if not waiting:
                return
            (done,), _ = ray.wait([*waiting], num_returns=1)
            job = waiting.pop(done)
            yield job, _outcome(ray, done, job)


def _outcome(ray: Any, done: Any, job: ShardJob[S]) -> Outcome:
    try:
        outcome: Outcome = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if "failed to import on the worker" in str(error) or "No module named 'clinlm" in str(error):
            raise ConfigError(
                "every worker must have clinlm and what the model needs, got one that cannot import it; install it on "
                "every machine of the cluster"
            ) from error
        raise
    except ray.exceptions.RayError as error:
        return DataError(
            f"its worker must live until the file is answered, got {1 + _RETRIES} that did not "
            f"({type(error).__name__}), perhaps for lack of memory; make the file smaller, or give workers more memory"
        )
    return outcome
