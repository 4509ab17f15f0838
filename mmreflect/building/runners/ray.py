"""Building as a Ray Data job: shards are the rows of a Ray dataset, and its tasks map them to files.

    runner: {name: ray, address: auto, tasks: 16}

What the tasks read and write lies on a file system that all nodes share, under one path; mmreflect and the leaf are
installed alike on every node. A leaf that makes each row on its own has a task for each shard. One that asks servers
has `tasks` of them, each with many shards and connections of its own, so that the servers' slots stay busy across
shards: `concurrency` and `requests_per_minute` are divided among them. Limits of tokens and of cost are refused, as
they are counted in one process, and a task that is begun anew would count from nothing. A request cache is for a local
disk: each node keeps its own where its path names one.
"""

import contextlib
import importlib.util
import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmreflect.building.builder import Builder, Maker
from mmreflect.building.manifest import added
from mmreflect.building.runners import Runner
from mmreflect.building.shards import build_shard, make_shard, places_of, row_file
from mmreflect.building.workers import Shard, failure_of, prepare, refuse_failure, setup_of
from mmreflect.config import Component, Keys, Tree, parts_of, to_tree
from mmreflect.config import config as config_class
from mmreflect.errors import UserError
from mmreflect.records import Count
from mmreflect.remote.settings import ServerConfig

RETRIES = 3
"""How often a task is begun anew whose process or node has died; what it has finished by then is not repeated."""


@config_class
class Config:
    """Options.

    Attributes:
        address: of a running cluster, `auto` for the one that this machine belongs to; null starts Ray on this machine
            alone. Where the calling process has called `ray.init` itself, that cluster is used.
        tasks: at once at most.
        num_cpus: what Ray sets aside for each task.
    """

    address: str | None = None
    tasks: Count = 4
    num_cpus: Annotated[float, Field(gt=0)] = 1.0


def check(options: Config, builder: Builder, config: Any) -> None:
    """Check what can be known before anything is built.

    Raises:
        UserError: `workers` or a limit that holds in one process is set, somebody speaks here, or Ray is missing.
    """
    if getattr(config, "workers", 1) != 1:
        raise UserError(
            f"workers={config.workers} is set, and runner ray builds in tasks of its own",
            "one of the two",
            "remove workers; runner.tasks says how many shards are built at the same time",
        )
    if hasattr(builder, "open_maker"):
        _check_speakers(config)
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "runner ray needs the package ray, which is not installed",
            "an installed ray",
            "pip install 'mmreflect[ray]'",
        )


def _check_speakers(config: Any) -> None:
    here = [
        f"{'.'.join(map(str, where))}: {part.name}"
        for where, part in parts_of(config)
        if isinstance(part, Component) and part.kind == "engine" and not _servers(part)
    ]
    if here:
        raise UserError(
            f"who is asked speaks in this very process ({', '.join(here)}), and runner ray builds in several",
            "speakers behind servers (engine openai)",
            "serve the model, or use runner local with shard=1/4 and so on, a machine each",
        )
    for where, server in _servers(config):
        for name in ("max_tokens_total", "max_cost"):
            if getattr(server, name) is not None:
                limit = f"{'.'.join(map(str, where))}.{name}={getattr(server, name):g}"
                raise UserError(
                    f"{limit} holds in one process, and runner ray builds in several, a lost one anew",
                    "no such limit, or one process",
                    f"remove {name} (the server may have a limit of its own), or use runner local",
                )


def _servers(config: Any) -> list[tuple[Keys, ServerConfig]]:
    return [(where, part) for where, part in parts_of(config) if isinstance(part, ServerConfig)]


def describe(options: Config, config: Any) -> str:
    """Say where the tasks are, and how many."""
    where = f"at {options.address}" if options.address else "on this machine"
    divided = "; concurrency and requests_per_minute are divided among them" if _servers(config) else ""
    return f"ray {where}, at most {options.tasks} tasks at once{divided}"


def create(options: Config) -> Runner:
    """Return what builds on the cluster.

    Raises (when it is called):
        UserError: there is no such cluster, a task met one outside of a row, or tasks died again and again.
        RuntimeError: a task failed; its traceback is in the message.
    """

    def build(
        builder: Builder, config: Any, folder: Path, shards: Sequence[Shard], done: Callable[[Shard], None]
    ) -> dict[str, Any]:
        tree, groups = to_tree(config), [[shard] for shard in shards]
        if hasattr(builder, "open_maker"):
            tasks = min(options.tasks, len(shards), *(server.concurrency for _, server in _servers(config)))
            tree, groups = divided(tree, _servers(config), tasks), [list(shards[n::tasks]) for n in range(tasks)]
        setup = {**setup_of(builder, tree, folder), "path": sys.path}
        spent: dict[str, Any] = {}
        with _cluster(options), contextlib.closing(_replies(options, groups, setup)) as replies:
            for group, reply in replies:
                refuse_failure(reply, "Ray task")
                spent = added(spent, reply["spent"])
                for shard in groups[group]:
                    done(shard)
        return spent

    return build


def divided(tree: Tree, servers: Sequence[tuple[Keys, ServerConfig]], tasks: int) -> Tree:
    """Return a configuration's tree with an even share of what each server is asked at once, and in a minute."""
    shared: Tree = json.loads(json.dumps(tree))
    for where, server in servers:
        place: Any = shared
        for key in where:
            place = place[key]
        place["concurrency"] = max(1, server.concurrency // tasks)
        if server.requests_per_minute is not None:
            place["requests_per_minute"] = server.requests_per_minute / tasks
    return shared


@contextlib.contextmanager
def _cluster(options: Config) -> Iterator[None]:
    """Join the cluster, or start one for this build alone; one that the caller has joined is left as it is."""
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {} if options.address else {"include_dashboard": False}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started unseen reports nothing
    try:
        _knock(options.address)
        ray.init(address=options.address or "local", logging_level=logging.WARNING, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"runner.address={options.address!r}: {error}",
            "the address of a running Ray cluster, or null",
            "start one (ray start --head), or leave address out to start Ray on this machine",
        ) from None
    try:
        cpus = ray.cluster_resources().get("CPU", 0)
        if not options.address and options.num_cpus > cpus:
            raise UserError(
                f"runner.num_cpus={options.num_cpus:g}, and this machine has {cpus:g}", "no more than that", "lower it"
            )
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """See whether anybody is at `host:port`: Ray itself tries for minutes and then ends the process."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _replies(
    options: Config, groups: Sequence[Sequence[Shard]], setup: dict[str, Any]
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Yield what became of each group of shards, with the group's number, in any order."""
    import ray
    import ray.data
    import ray.exceptions

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    rows = [{"group": number, "shards": json.dumps(group)} for number, group in enumerate(groups)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there is no other way yet to limit retries
        job = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            work,
            fn_kwargs={"setup": json.dumps(setup)},
            compute=ray.data.TaskPoolStrategy(size=min(options.tasks, len(rows))),
            num_cpus=options.num_cpus,
            max_retries=RETRIES,
        )
    try:
        for row in job.iter_rows():
            yield row["group"], json.loads(row["reply"])
    except ray.exceptions.RayTaskError as error:  # what goes wrong inside of `work` comes back as its reply
        raise UserError(
            f"a Ray task of the build could not begin: {str(error).strip().splitlines()[-1]}",
            "mmreflect on every node, in the version of this process",
            "install the same on every node, and start the same command again",
        ) from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"a Ray task of the build died {RETRIES + 1} times: {str(error).strip().splitlines()[0]}",
            "tasks that live",
            "start the same command again, it goes on; with a larger num_cpus, so fewer tasks, if memory ran out",
        ) from None


def work(row: dict[str, Any], setup: str) -> dict[str, Any]:
    """Build a group of shards: what a task does, in a process of its own."""
    try:
        reply = {"spent": _built(json.loads(setup), [tuple(shard) for shard in json.loads(row["shards"])])}
    except Exception as error:
        reply = failure_of(error)
    return {"group": row["group"], "reply": json.dumps(reply)}


def _built(setup: dict[str, Any], shards: Sequence[Any]) -> dict[str, Any]:
    """Build those of the shards that are not there, and return what that took."""
    for what, key in (("the output", "folder"), ("the builder", "file"), ("the working folder", "cwd")):
        if not Path(setup[key]).exists():
            raise UserError(
                f"{what} {setup[key]} is not there on the node {socket.gethostname()}",
                "a file system that all nodes share, and mmreflect at the same place on each",
                "choose an output there, and install the same on every node",
            )
    os.chdir(setup["cwd"])
    sys.path += [place for place in setup["path"] if place not in sys.path]
    builder, config = prepare(setup)
    folder = Path(setup["folder"])
    missing = [shard for shard in shards if not row_file(folder, shard).is_file()]
    if not hasattr(builder, "open_maker"):
        for shard in missing:
            make_shard(builder, config, folder, shard)
        return {}
    maker: Maker = builder.open_maker(config)
    with contextlib.closing(maker):
        for split in dict.fromkeys(shard[0] for shard in missing):
            own = [shard for shard in missing if shard[0] == split]
            made = maker.make(split, [place for shard in own for place in places_of(config, shard)])
            for shard in own:
                build_shard(made, folder, split, shard[1], places_of(config, shard))
    return maker.spent()
