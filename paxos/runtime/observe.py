"""Logging: what a node says about itself, as events with fields, through structlog.

Owns the set-up of structlog for our own processes. Inside somebody else's program nothing is set
up and nothing is printed: a node is silent there until the program has configured structlog.
The core never logs; a log line never carries a command or a value.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

import structlog

LogFormat = Literal["console", "json"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


def configure(
    log_format: LogFormat = "console", level: str = "info", stream: TextIO | None = None
) -> None:
    """Set structlog up for this process, once, before any node is opened.

    Args:
        log_format: "console" for people, "json" for machines: one object per line.
        level: The lowest level that is printed: "debug", "info" or "warning".
        stream: Where to; standard error if None.
    """
    stream = sys.stderr if stream is None else stream
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if log_format == "json":
        processors.append(structlog.processors.JSONRenderer(sort_keys=True))
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )


def logger(**fields: object) -> structlog.typing.FilteringBoundLogger:
    """Return a logger that adds ``fields`` to every event; silent unless structlog is set up."""
    if structlog.is_configured():
        bound: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind(**fields)
        return bound
    silent: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )
    return silent
