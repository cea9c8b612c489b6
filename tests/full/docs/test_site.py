"""The documentation as a site: every page is in its navigation, and nothing comes from elsewhere."""

import importlib
import re
import sys

import grpc
import pytest

from kit.paths import ROOT
from rnnserve.protos import inference_pb2
from rnnserve.protos import inference_pb2_grpc as rpc

sys.path.insert(0, str(ROOT / "docs" / "tools"))
build_site, proto_reference = map(importlib.import_module, ("build_site", "proto_reference"))


def test_site_has_every_page_and_fetches_no_remote_files(tmp_path, monkeypatch):
    root = tmp_path / "site with a space"
    root.mkdir()
    (root / "zensical.toml").write_text(build_site.CONFIG.read_text())
    monkeypatch.setattr(build_site, "STAGE", root / ".docs")
    monkeypatch.setattr(build_site, "SITE", root / "site")
    monkeypatch.setattr(build_site, "CONFIG", root / "zensical.toml")
    monkeypatch.setattr(sys, "argv", ["build_site.py"])
    assert build_site.main() == 0
    pages = sorted(build_site.pages().values())
    assert sorted(page for listed in build_site.navigation().values() for page in listed) == pages
    index = (root / "site" / "llms.txt").read_text()
    for page in pages:
        assert (root / "site" / page).with_suffix(".html").is_file()
        assert f"]({page}): " in index
    fetched = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//')
    for built in (root / "site").rglob("*.html"):
        assert fetched.findall(built.read_text()) == []


def test_link_to_a_missing_file_ends_the_build():
    places = build_site.pages()
    assert build_site.turned("[x](../SECURITY.md)", "docs/install.md", places) == "[x](security.md)"
    assert build_site.turned("[x](../README.md)", "docs/install.md", places) == "x (`README.md`)"
    with pytest.raises(SystemExit, match=r"docs/install\.md: the target of the link \.\./nowhere\.md does not exist"):
        build_site.turned("[x](../nowhere.md)", "docs/install.md", places)


def test_every_property_of_a_served_model_is_documented(port):
    documented = {
        (message.name.rpartition(".")[2], name): set(re.findall(r"`(\w+)`", said))
        for message in proto_reference.Proto("inference.proto").described()
        for name, _, said in message.rows
    }
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = inference_pb2.ModelMetadataRequest(name="direction_simple")
        served = rpc.GRPCInferenceServiceStub(channel).ModelMetadata(request)
    assert set(served.properties) <= documented["ModelMetadataResponse", "properties"]
    for tensor in (*served.inputs, *served.outputs):
        assert set(tensor.parameters) <= documented["TensorMetadata", "parameters"]
