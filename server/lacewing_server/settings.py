"""The server's settings: one frozen object, from flags, then the environment (``LACEWING_…``), then a TOML file.

``lacewing config`` prints them with where each comes from. Unknown keys are errors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_FILE_VARIABLE = "LACEWING_CONFIG"
DEFAULT_PORT = 7400
# What else is set by variables of this prefix: where the file is, and what the command line reads.
_OTHER_VARIABLES = {CONFIG_FILE_VARIABLE, "LACEWING_ADDRESS", "LACEWING_DEBUG", "LACEWING_INLINE_LIMIT"}


class Settings(BaseSettings):
    """Everything that can be set. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="LACEWING_", extra="forbid", frozen=True)

    host: str = Field(
        "127.0.0.1", description="Address to listen on. Loopback by default: there is no authentication yet."
    )
    port: int = Field(DEFAULT_PORT, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    redis: str | None = Field(
        None,
        repr=False,  # it may hold a password
        description="URL of your own Redis >= 7.0 or Valkey >= 7.2: redis://, rediss://, unix:// or "
        "redis+sentinel://host,host/service. Unset: an embedded Valkey in data_dir.",
    )
    redis_timeout: float = Field(
        5, ge=0.1, description="How long Redis may take to answer before its connection counts as lost."
    )
    redis_replicas: int = Field(
        0,
        ge=0,
        description="Replicas of your Redis that must have a write before it counts; 0: the master alone.",
    )
    data_dir: Path = Field(Path("~/.local/share/lacewing"), description="Where the embedded Valkey and blobs are kept.")
    fsync: Literal["always", "everysec", "no"] = Field(
        "everysec", description="When the embedded Valkey's writes reach the disk."
    )
    persist: bool = Field(default=True, description="False: the embedded Valkey keeps everything in memory only.")
    blob_url: str | None = Field(
        None,
        description="Where large values are kept: file:///directory or s3://bucket/prefix; all servers of a Redis need "
        "the same. Unset: the directory blobs in data_dir.",
    )
    blob_retention: float = Field(
        30 * 86_400, ge=0, description="How long a large value is kept after its last use; 0 keeps it for good."
    )
    blob_max_bytes: int = Field(16 << 30, ge=1, description="Size that one large value or file may have.")
    key_prefix: str = Field(
        "lw:{0}:",
        pattern=r"^[^{}]*\{[^{}]+\}[^{}]*$",
        description="Prefix of all keys; holds one hash tag, so that they share a slot of a cluster.",
    )
    default_project: str = Field("default", description="The project where a request names none.")
    domains: Annotated[tuple[str, ...], NoDecode] = Field(
        ("development", "staging", "production"),
        min_length=1,
        description="The domains there are; the first is the one where a request names none.",
    )
    attempt_timeout: float = Field(3_600, gt=0, description="Attempt timeout of tasks that declare none.")
    retention: float = Field(7 * 86_400, ge=1, description="How long a finished execution can be read.")
    max_queued: int = Field(100_000, ge=1, description="Executions that may wait in one task's queue.")
    cache_max_bytes: int = Field(
        1 << 30, ge=1, description="Bytes that the cache entries of a project may take, unless the project sets it."
    )
    lease_duration: float = Field(30, gt=0, description="How long a lease lives without a sign of life of its worker.")
    heartbeat_interval: float = Field(10, gt=0, description="How often a worker must give a sign of life.")
    reconnect_grace: float = Field(
        2, ge=0, description="How long after its stream broke a worker may come back for its leases."
    )
    server_lease: float = Field(3, gt=0, description="How long a server that went silent counts as alive.")
    tick: float = Field(0.05, gt=0, le=1, description="How often clocks are looked at.")
    shutdown_grace: float = Field(10, ge=0, description="How long running calls may take to end at shutdown.")
    transport: Literal["auto", "batched", "aio"] = Field(
        "auto",
        description="How gRPC is driven: batched takes a third of the CPU and needs grpcio's private API, aio only the "
        "public one; auto is batched where it works with the grpcio that is installed.",
    )
    reflection: bool = Field(default=True, description="Serve gRPC reflection, for grpcurl and its like.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["text", "json"] = Field("text", description="How it is logged.")

    @field_validator("domains", mode="before")
    @classmethod
    def _split_domains(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        if self.lease_duration <= self.heartbeat_interval:
            raise ValueError(
                f"lease_duration ({self.lease_duration:g} s) must be longer than heartbeat_interval "
                f"({self.heartbeat_interval:g} s): a worker that gives its signs of life in time would lose its leases"
            )
        return self

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file."""
        path = os.environ.get(CONFIG_FILE_VARIABLE)
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


class SettingsError(Exception):
    """The settings are not valid; the text names each that is not."""


def load_settings(**flags: Any) -> Settings:
    """Builds the settings; flags that are None were not given.

    Raises:
        SettingsError: If a value is not valid, a key is unknown, or the file cannot be read.
    """
    path = os.environ.get(CONFIG_FILE_VARIABLE)
    if path and not Path(path).is_file():
        raise SettingsError(f"{CONFIG_FILE_VARIABLE} names {path}, which is not a file")
    known = {f"LACEWING_{name.upper()}" for name in Settings.model_fields} | _OTHER_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith("LACEWING_") and name not in known)
    if unknown:
        raise SettingsError(f"unknown settings in the environment: {', '.join(unknown)}")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()]
        raise SettingsError("; ".join(lines)) from error
    except ValueError as error:  # a file that is not TOML
        raise SettingsError(f"{path}: {error}") from error
