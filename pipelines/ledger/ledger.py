"""Opens the ledger: SQLite in WAL mode by default, or any SQLAlchemy URL, and migrates it to the present schema."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models.errors import BadParams, DefectloopError, NotReady, Unreachable
from models.files import write_whole
from pipelines import failures
from pipelines.ledger import chain

HEAD = "0010"  # the newest migration
MIGRATIONS = Path(__file__).with_name("migrations")
WRITES = "defectloop_writes"


class Ledger:
    """A database with sessions for reading and for writing. Use as a context manager; safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{WRITES: True})

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Connect to the ledger and migrate it.

        Raises BadParams for an invalid address, Unreachable if the database cannot be opened, DefectloopError if it is
        damaged, and NotReady if the ledger has disappeared or was made by a newer defectloop.
        """
        try:
            parsed = make_url(url)
        except SQLAlchemyError as error:
            raise BadParams(
                f"DEFECTLOOP_LEDGER is not a database address: {url!r}.",
                next_step="Write it like postgresql+psycopg://host/name, or unset it to use the workspace's own ledger.",
            ) from error
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            engine = _engine(parsed)
            note = _creation_note(parsed)
            existed = (
                note is not None and note.exists()
            )  # checked before the version, because another process may be creating both
            version = _version(engine)
            _require_readable(version, parsed, note if existed else None)
            if version != HEAD:
                _migrate(engine, parsed)
            if note is not None and not existed:
                write_whole(note, datetime.now(UTC).isoformat(timespec="seconds").encode())
        except (SQLAlchemyError, OSError, ImportError) as error:
            if parsed.get_backend_name() == "sqlite" and failures.is_damage(error):
                raise DefectloopError(
                    f"The ledger {parsed.database} is damaged: {failures.short(error)}.",
                    next_step="Restore it from a backup. To save what is still readable: sqlite3 FILE .recover",
                ) from error
            raise Unreachable(
                f"The ledger {parsed.render_as_string()} cannot be opened: {failures.short(error)}.",
                next_step="Check DEFECTLOOP_LEDGER and the free disk space.",
            ) from error
        return cls(engine)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextlib.contextmanager
    def connected(self) -> Iterator[Connection]:
        """Yield a connection for reading without the ORM, where its time counts."""
        with self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """Run the block as one transaction, which is durable at its end and rolled back on an error. The rows that it writes
        to chained tables are appended to the chain."""
        with chain.WritingSession(self._writing, expire_on_commit=False) as session, session.begin():
            yield session
            chain.close(session)


def _require_readable(version: str | None, url: URL, note: Path | None) -> None:
    """Raise NotReady for a ledger of a newer version, and for one that existed before (`note`) and is now missing or
    empty, because creating a new one would hide the loss."""
    if version is not None and version > HEAD:
        raise NotReady(
            f"The ledger {url.render_as_string()} was made by a newer defectloop (schema {version}, this one has {HEAD}).",
            next_step="Install the newer version: make setup in its checkout.",
        )
    if note is not None and version is None:
        raise NotReady(
            f"The ledger {url.database} is missing or empty; it was created on {note.read_text().strip()}.",
            next_step=f"Restore it from a backup. To start an empty ledger, delete {note}.",
        )


def _creation_note(url: URL) -> Path | None:
    """Return the path of the file that records the creation of a SQLite ledger."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(f"{url.database}.created")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver would start transactions too late
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Writers take the lock immediately, because two that both read first would deadlock.
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(engine: Engine, url: URL) -> None:
    from alembic import command
    from alembic.config import Config

    name = hashlib.sha256(url.render_as_string(hide_password=True).encode()).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"defectloop-ledger-{name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _version(engine) != HEAD:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            with engine.connect() as connection, _without_foreign_keys(connection):
                config.attributes["connection"] = connection
                command.upgrade(config, HEAD)


@contextlib.contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Turn foreign keys off during a migration: SQLite alters a table by recreating it, and references prevent dropping it.

    This only works outside transactions, so it bypasses SQLAlchemy, which begins one with the first statement.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
        astray = driver.execute("PRAGMA foreign_key_check").fetchall()
        if astray:
            raise OSError(f"{len(astray)} rows refer to missing rows (first: {astray[0]})")
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
