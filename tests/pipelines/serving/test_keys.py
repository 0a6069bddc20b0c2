"""API keys: what is stored, who is let in, and how quickly a revocation holds."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadData, BadInput
from pipelines.serving import keys
from pipelines.serving.keys import KeyRing, Permission, Role
from tests.kept.unpacked import unpacked


def test_the_file_holds_no_key_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    _, text = keys.create(tmp_path, "press 4", Role.STATION, ["widgets"])
    path = tmp_path / keys.FILE
    assert text.split("_", 2)[2] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_let_in_until_it_is_revoked_without_a_restart(tmp_path: Path) -> None:
    made, text = keys.create(tmp_path, "press 4", Role.STATION, ["widgets"])
    ring = KeyRing(tmp_path)
    assert ring.valid(text) == made
    _, other = keys.create(tmp_path, "press 5", Role.STATION)
    assert ring.valid(other)
    keys.revoke(tmp_path, "press 4")
    assert ring.valid(text) is None
    assert ring.valid(other)


def test_an_expired_key_is_refused(tmp_path: Path) -> None:
    _, text = keys.create(tmp_path, "guest", Role.REVIEWER, expires_at=datetime.now(UTC) + timedelta(seconds=0.2))
    ring = KeyRing(tmp_path)
    assert ring.valid(text)
    path = tmp_path / keys.FILE
    stored = json.loads(path.read_text())
    stored["keys"][0]["expires_at"] = datetime.now(UTC).isoformat()
    path.write_text(json.dumps(stored))
    assert ring.valid(text) is None


def test_a_deleted_file_lets_nobody_in_and_a_damaged_one_keeps_the_line_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, text = keys.create(tmp_path, "press 4", Role.STATION)
    ring = KeyRing(tmp_path)
    (tmp_path / keys.FILE).write_text("{")
    assert ring.valid(text)
    assert "cannot be read" in caplog.text
    (tmp_path / keys.FILE).unlink()
    assert ring.valid(text) is None


def test_only_the_very_first_start_makes_an_admin_key(tmp_path: Path) -> None:
    made = keys.create_first(tmp_path / "service")
    assert made
    assert KeyRing(tmp_path / "service").valid(made[1]) == made[0]
    assert made[0].role is Role.ADMIN
    assert keys.create_first(tmp_path / "service") is None
    keys.revoke(tmp_path / "service", made[0].id)
    assert keys.create_first(tmp_path / "service") is None  # whoever revokes the last key means it


def test_the_hour_of_the_last_use_is_stored(tmp_path: Path) -> None:
    made, text = keys.create(tmp_path, "press 4", Role.STATION)
    unused, _ = keys.create(tmp_path, "press 5", Role.STATION)
    KeyRing(tmp_path).valid(text)
    used = keys.last_used(tmp_path)
    assert datetime.now(UTC) - used[made.id] < timedelta(hours=1, minutes=1)
    assert unused.id not in used


def test_no_key_is_lost_when_several_commands_change_them_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: keys.create(tmp_path, f"station {n}", Role.STATION), range(24)))
        list(threads.map(lambda one: keys.revoke(tmp_path, one[0].id), made[::2]))
    ring = KeyRing(tmp_path)
    assert [bool(ring.valid(text)) for _, text in made] == [n % 2 == 1 for n in range(24)]


@pytest.mark.parametrize(
    ("name", "role", "lines", "days", "says"),
    [
        ("", Role.STATION, None, None, "name"),
        ("a\nb", Role.STATION, None, None, "control character"),
        ("press", Role.STATION, ["a\0b"], None, "line"),
        ("press", Role.ADMIN, ["widgets"], None, "all lines"),
        ("press", Role.STATION, None, -1, "expire"),
        ("taken", Role.STATION, None, None, "already"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_created(
    tmp_path: Path, name: str, role: Role, lines: list[str] | None, days: float | None, says: str
) -> None:
    keys.create(tmp_path, "taken", Role.STATION)
    ends = datetime.now(UTC) + timedelta(days=days) if days else None
    with pytest.raises(BadInput, match=says):
        keys.create(tmp_path, name, role, lines, ends)
    assert len(keys.read(tmp_path)) == 1


def test_what_each_role_may_do() -> None:
    may = {role: {permission.value for permission in keys.PERMISSIONS[role]} for role in Role}
    assert may == {
        Role.STATION: {"inspect", "read"},
        Role.REVIEWER: {"read", "review"},
        Role.ENGINEER: {"inspect", "read", "review", "operate"},
        Role.ADMIN: {permission.value for permission in Permission},
    }


printable = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(printable, st.sampled_from(list(Role)), st.none() | st.lists(printable, max_size=3), st.booleans()),
        max_size=6,
        unique_by=lambda one: one[0],
    )
)
def test_exactly_the_keys_that_are_not_revoked_are_let_in_with_what_they_were_given(wanted: list) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = []
        for said, role, lines, is_revoked in wanted:
            chosen = None if role is Role.ADMIN else lines
            key, text = keys.create(folder, said, role, chosen)
            if is_revoked:
                keys.revoke(folder, key.id)
            made.append((text, is_revoked, said, role, chosen))
        ring = KeyRing(folder)
        for text, is_revoked, said, role, chosen in made:
            key = ring.valid(text)
            assert (key is None) == is_revoked
            if key:
                assert (key.name, key.role) == (said, role)
                assert key.lines == (None if chosen is None else tuple(sorted(set(chosen))))


@pytest.fixture(scope="module")
def one_key(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeyRing, str]:
    folder = tmp_path_factory.mktemp("keys")
    _, text = keys.create(folder, "press 4", Role.STATION)
    return KeyRing(folder), text


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_text_that_differs_anywhere_is_refused(one_key: tuple[KeyRing, str], data: st.DataObject) -> None:
    ring, text = one_key
    position = data.draw(st.integers(0, len(text) - 1))
    changed = text[:position] + data.draw(st.text(max_size=3)) + text[position + 1 :]
    assert (ring.valid(changed) is None) == (changed != text)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300) | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(repr))
def test_a_damaged_file_is_a_readable_error(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / keys.FILE
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        with pytest.raises(BadData, match=r"keys\.json cannot be read"):
            keys.read(Path(name))


def test_the_command_shows_a_key_once_and_lists_it_without_its_text(tmp_path: Path, in_process) -> None:
    root = unpacked(tmp_path).root
    done = in_process("keys", "create", "--name", "press 4", "--line", "widgets", "--json", "-w", root)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["role"], made["lines"], made["state"]) == ("station", ["widgets"], "valid")
    listed = in_process("keys", "-w", root)
    assert made["key"] not in listed.stdout
    assert made["id"] in listed.stdout
    assert "press 4: widgets" in listed.stdout
    assert in_process("keys", "revoke", "press 4", "-w", root).returncode == 0
    assert "revoked" in in_process("keys", "list", "-w", root).stdout
    again = in_process("keys", "revoke", "press 4", "-w", root)
    assert (again.returncode, "keys list" in again.stderr) == (2, True)
    assert in_process("keys", "create", "-w", root).returncode == 2
