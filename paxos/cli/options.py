"""The options that several commands share: which cluster, how long, and in what form.

Resolves ``--config``, ``--endpoints`` and ``PAXOS_CONFIG`` to one ``Target``; every command that
talks to replicas gets one and knows nothing of where it came from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from paxos.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from paxos.cluster import ClusterFile

ENVIRONMENT = "PAXOS_CONFIG"
TIMEOUT_S = 10.0
OPERATOR_TIMEOUT_S = 60.0
"""A change of members is refused by the leader after 10 election timeouts, and they may be long."""
EXAMPLE_URL = "tcp://127.0.0.1:7001"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """The replicas a client command talks to, and how.

    Attributes:
        endpoints: URLs of replicas. The first is tried first.
        timeout_s: How long one request may take, finding a replica included.
        json: Whether to print one JSON object per line.
        cluster: The cluster's id, in hex, where a configuration file names it.
        urls: URL by node id as far as a configuration file names them; empty otherwise.
        file: That configuration file, if there is one.
    """

    endpoints: tuple[str, ...]
    timeout_s: float
    json: bool
    cluster: str | None
    urls: Mapping[int, str]
    file: ClusterFile | None

    @property
    def source(self) -> ClusterFile | tuple[str, ...]:
        """What ``paxos.service`` takes: the file, because it knows the cluster's id, or URLs."""
        return self.endpoints if self.file is None else self.file


def split_endpoints(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Split and check a comma-separated list of URLs; a bad one is named."""
    if value is None:
        return None
    urls = tuple(part.strip() for part in value.split(",") if part.strip())
    if not urls:
        raise click.BadParameter("it names no URL; write it like tcp://127.0.0.1:7001")
    for url in urls:
        _check_url(url)
    return urls


def one_endpoint(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Check one URL, if one was given."""
    if value is not None:
        _check_url(value)
    return value


def _check_url(url: str) -> None:
    import transports

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise click.BadParameter(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in transports.schemes():
        known = ", ".join(f"{scheme}://" for scheme in transports.schemes())
        raise click.BadParameter(f"{url!r} must begin with one of {known}, as in {EXAMPLE_URL}")
    if not host or not port:
        raise click.BadParameter(f"{url!r} needs a host and a port, as in {EXAMPLE_URL}")


def config_option(required: bool = True) -> Callable[[F], F]:
    """``--config FILE``, or the environment's ``PAXOS_CONFIG``."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=ENVIRONMENT if required else None,
        required=required,
        metavar="FILE",
        help=f"The cluster.toml that `paxos init` wrote. Default: ${ENVIRONMENT}.",
    )


transport_option = click.option(
    "--transport",
    type=click.Choice(["tcp", "ws"]),
    default="tcp",
    show_default=True,
    help="How replicas and clients talk: plain TCP, or WebSocket where proxies stand between.",
)
base_port_option = click.option(
    "--base-port",
    type=click.IntRange(1, 65535),
    default=7001,
    show_default=True,
    metavar="P",
    help="Node 1 listens on port P of 127.0.0.1, node 2 on P+1, and so on.",
)
storage_option = click.option(
    "--storage",
    type=click.Choice(["segments", "sqlite"]),
    default="segments",
    show_default=True,
    help="What keeps each node's log.",
)
"""Of whoever founds a cluster: ``init``, ``restore`` and ``recover``."""


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")(
        command
    )


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--config``, ``--endpoints``, ``--timeout`` and ``--json`` as one ``Target``.

    The command's function takes the target as its first argument.
    """
    return _with_target(command, TIMEOUT_S)


def operator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As ``client_options``, for requests that take longer: a change waits until it is settled."""
    return _with_target(command, OPERATOR_TIMEOUT_S)


def _with_target(command: Callable[..., Any], timeout_s: float) -> Callable[..., Any]:
    @asked_options(timeout_s)
    @wraps(command)
    def with_target(asked: Asked, *args: Any, **kwargs: Any) -> Any:
        return command(asked.target(), *args, **kwargs)

    return with_target


@dataclass(frozen=True, slots=True)
class Asked:
    """The same options before they are resolved: for a command that may need no cluster."""

    config_file: Path | None
    endpoints: tuple[str, ...] | None
    timeout_s: float
    json: bool

    def target(self) -> Target:
        """Find the replicas.

        Raises:
            click.UsageError, CommandError: As ``resolve_target``.
        """
        return resolve_target(self.config_file, self.endpoints, self.timeout_s, self.json)


def asked_options(default_timeout_s: float) -> Callable[[F], F]:
    """Give a command the options of ``client_options``, unresolved: as one ``Asked``."""

    def decorate(command: F) -> F:
        @json_option
        @click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            default=default_timeout_s,
            show_default=True,
            metavar="SECONDS",
            help="How long a request may take, finding a replica included.",
        )
        @click.option(
            "--endpoints",
            callback=split_endpoints,
            metavar="URL,...",
            help="URLs of replicas, instead of a configuration file.",
        )
        @config_option(required=False)
        @wraps(command)
        def with_asked(
            *args: Any,
            config_file: Path | None,
            endpoints: tuple[str, ...] | None,
            timeout_s: float,
            as_json: bool,
            **kwargs: Any,
        ) -> Any:
            return command(Asked(config_file, endpoints, timeout_s, as_json), *args, **kwargs)

        return with_asked  # type: ignore[return-value]

    return decorate


def resolve_target(
    config_file: Path | None,
    endpoints: tuple[str, ...] | None,
    timeout_s: float,
    as_json: bool,
) -> Target:
    """Find the replicas: by configuration file, by URLs, or by the environment.

    Raises:
        click.UsageError: Both were given, or nothing was.
        CommandError: The configuration file cannot be used.
    """
    if config_file is not None and endpoints is not None:
        raise click.UsageError("give --config or --endpoints, not both")
    if endpoints is not None:
        return Target(endpoints, timeout_s, as_json, None, {}, None)
    if config_file is None:
        named = os.environ.get(ENVIRONMENT)
        if not named:
            raise click.UsageError(
                "which cluster? Give --config FILE or --endpoints URL,..., or set"
                f" {ENVIRONMENT} to the cluster.toml that `paxos init` wrote"
            )
        config_file = Path(named)
    return target_of(read_cluster(config_file), timeout_s, as_json)


def target_of(cluster: ClusterFile, timeout_s: float, as_json: bool = False) -> Target:
    """Return all replicas of a cluster as a target."""
    urls = cluster.urls
    return Target(tuple(urls.values()), timeout_s, as_json, cluster.cluster, urls, cluster)


def read_cluster(config_file: Path) -> ClusterFile:
    """Read and check a configuration file.

    Raises:
        CommandError: It cannot be read or says something that cannot be run.
    """
    from paxos import cluster

    try:
        return cluster.load(config_file)
    except cluster.ClusterFileInvalid as error:
        raise CommandError(Exit.USAGE, str(error)) from error
