"""Mistakes in the section `connectors` are one sentence that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BadParams, NotReady
from pipelines.connectors import config, connect
from tests.kept.unpacked import unpacked

NODES = "{trigger: ns=2;s=T, path: ns=2;s=P, verdict: ns=2;s=V, done: ns=2;s=D}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("folders: {one: {}}", "connectors.folders.one.path is missing"),
        ("folders: {one: {path: a, pth: b}}", "connectors.folders.one.pth is an unknown key"),
        ("folders: {one: {path: a, part_from: '('}}", "connectors.folders.one.part_from: is no regular expression"),
        ("folders: {'a b': {path: a}}", "connectors.folders.a b"),
        ("url: station:8484", "connectors.url: is no address that begins with http:// or https://"),
        ("mqtt: {p: {host: b, images: 'in/+', verdicts: out}}", "connectors.mqtt.p: images: 'in/\\+' is no topic"),
        ("mqtt: {p: {host: b, images: 'in/{prat}', verdicts: out}}", "{prat} is no placeholder"),
        ("mqtt: {p: {host: b, images: in, verdicts: out, password_env: 's3cr et'}}", "not the secret itself"),
        ("mqtt: {p: {host: b, images: in, verdicts: out, folder: x}}", "folder: goes with payload: json"),
        (f"opcua: {{p: {{url: 'http://plc', folder: a, nodes: {NODES}}}}}", "begins with opc.tcp://"),
        ("opcua: {p: {url: 'opc.tcp://plc', folder: a, nodes: {}}}", "connectors.opcua.p.nodes.trigger is missing"),
        ("webhooks: {m: {url: 'https://mes', secret_env: S, verdicts: [bad]}}", "connectors.webhooks.m.verdicts"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "service.yaml").write_text(f"connectors:\n  {text}\n")
    with pytest.raises(BadParams, match=told.replace("{", r"\{")) as error:
        config.load(tmp_path)
    assert "docs/connectors.md" in error.value.next_step


def test_a_secret_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MES_SECRET", raising=False)
    with pytest.raises(BadParams, match=r"MES_SECRET, which connectors\.webhooks\.mes\.secret_env names"):
        config.secret("MES_SECRET", "connectors.webhooks.mes.secret_env")


def test_a_workspace_without_connectors_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no connectors"):
        connect.run(unpacked(tmp_path), print)
