"""The documentation as a site: every page is in its navigation, links lead on, and nothing comes from elsewhere."""

import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import grpc
import pytest

from kit.paths import ROOT
from rnnserve.protos import health_pb2, inference_pb2, manifest_pb2
from rnnserve.protos import inference_pb2_grpc as rpc

sys.path.insert(0, str(ROOT / "docs" / "tools"))
build_site, write_reference, errors_reference, proto_reference, limits_reference = (
    importlib.import_module(name)
    for name in ("build_site", "write_reference", "errors_reference", "proto_reference", "limits_reference")
)
SIMPLE, TENSOR = "direction_simple", ".TensorMetadata"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built in a folder of its own from what git has."""
    root = tmp_path_factory.mktemp("site with a space")
    (root / "zensical.toml").write_text(build_site.CONFIG.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_site, "STAGE", root / ".docs")
        patch.setattr(build_site, "SITE", root / "site")
        patch.setattr(build_site, "CONFIG", root / "zensical.toml")
        patch.setattr(sys, "argv", ["build_site.py"])
        assert build_site.main() == 0
    return root / "site"


def test_every_page_is_in_the_navigation_once():
    listed = [page for pages in build_site.navigation().values() for page in pages]
    assert sorted(listed) == sorted(build_site.pages().values())


def test_each_page_lies_there_for_people_and_for_programs(site):
    index = (site / "llms.txt").read_text()
    for page in build_site.pages().values():
        assert (site / page).with_suffix(".html").is_file()
        assert (site / page).read_text().startswith("# ")
        assert f"]({page}): " in index
    assert all(line.rsplit(": ", 1)[1] for line in index.splitlines() if line.startswith("- "))


def test_nothing_is_fetched_from_elsewhere(site):
    fetched = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//')
    for page in site.rglob("*.html"):
        assert fetched.findall(page.read_text()) == []


@pytest.mark.parametrize(
    ("written", "turned"),
    [
        ("[x](../README.md#install)", "[x](project.md#install)"),
        ("[`x`](reference/limits.md)", "[`x`](reference/limits.md)"),
        ("[the file](../Makefile)", "the file (`Makefile`)"),
        ("![a](images/load.svg)", "![a](images/load.svg)"),
        ("[x](https://example.com/a)", "[x](https://example.com/a)"),
        ("[x](#here)", "[x](#here)"),
        ("`[x](../README.md)`", "`[x](../README.md)`"),
        ("```\n[x](../README.md)\n```\n", "```\n[x](../README.md)\n```\n"),
    ],
)
def test_links_are_turned_to_the_copies(written, turned):
    assert build_site.turned(written, "docs/serving.md", build_site.pages()) == turned


def test_a_link_to_nothing_is_named():
    with pytest.raises(SystemExit, match=r"docs/serving\.md: the link \.\./nowhere\.md leads nowhere"):
        build_site.turned("[x](../nowhere.md)", "docs/serving.md", build_site.pages())


def test_a_wrong_anchor_ends_the_build(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A\n\n[x](#nowhere)\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "x"\n')
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(tmp_path / "zensical.toml")]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_the_generated_pages_are_those_of_the_code():
    for name, lines in write_reference.PAGES.items():
        page = (write_reference.FOLDER / name).read_text(encoding="utf-8")
        assert page == "\n".join(lines()).rstrip() + "\n", f"{name}: run `make docs`"


@pytest.mark.parametrize("stub", [manifest_pb2, inference_pb2, health_pb2], ids=lambda stub: stub.__name__)
def test_what_is_read_of_a_proto_file_is_what_its_stub_has(stub):
    def parts(message, before=""):
        yield before + message.name, [field.name for field in message.fields]
        for nested in message.nested_types:
            if not nested.GetOptions().map_entry:
                yield from parts(nested, f"{before}{message.name}.")
        for enum in message.enum_types:
            yield f"{before}{message.name}.{enum.name}", [value.name for value in enum.values]

    described = stub.DESCRIPTOR
    expected = dict(part for message in described.message_types_by_name.values() for part in parts(message))
    expected |= {name: [value.name for value in of.values] for name, of in described.enum_types_by_name.items()}
    proto = proto_reference.Proto(Path(described.name).name)
    assert {one.name: [name for name, _, _ in one.rows] for one in proto.described()} == expected
    services = {one.full_name: list(one.methods_by_name) for one in described.services_by_name.values()}
    assert {one.name: [name for name, _, _ in one.rows] for one in proto.services()} == services


def test_every_property_of_a_model_is_told(port):
    """As the comment of the field says them: `name`: what it is."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        served = rpc.GRPCInferenceServiceStub(channel).ModelMetadata(inference_pb2.ModelMetadataRequest(name=SIMPLE))
    told = {name: said for name, _, said in next(metadata_message()).rows}
    assert set(served.properties) <= set(re.findall(r"`(\w+)`", told["properties"]))
    (tensor,) = [one for one in proto_reference.Proto("inference.proto").described() if one.name.endswith(TENSOR)]
    said = next(said for name, _, said in tensor.rows if name == "parameters")
    for one in (*served.inputs, *served.outputs):
        assert set(one.parameters) <= set(re.findall(r"`(\w+)`", said))


def metadata_message():
    return (one for one in proto_reference.Proto("inference.proto").described() if one.name == "ModelMetadataResponse")


def test_limits_are_found_in_docstrings_and_attributes(monkeypatch):
    module = types.ModuleType("planted")
    source = '''
import dataclasses
SMALL, LARGE = 3, 5 << 20
"""Bytes of one, and of all. They are few.
Beyond it: 413."""
OTHER = 1
"""Seconds of no limit."""
@dataclasses.dataclass
class Limits:
    """Some.

    Attributes:
        wait: Seconds that it waits. Beyond it:
            504.
        most: Calls.
    """

    wait: float = 1.5
    most: int = 3
'''
    monkeypatch.setitem(sys.modules, "planted", module)
    exec(source, module.__dict__)
    found = [*limits_reference.of_module("web.planted", module, source)]
    assert [(one.name, one.what, one.value, one.beyond) for one in found] == [
        ("web.planted.SMALL", "Bytes of one, and of all", "3 bytes; 5 MiB", "413"),
        ("web.planted.wait", "Seconds that it waits", "1.5 s", "504"),
    ]


def test_a_limit_without_a_section_is_named(monkeypatch):
    monkeypatch.setattr(limits_reference, "_SECTIONS", {"HTTP": ("web",)})
    with pytest.raises(SystemExit, match=r"no section is for protos\.artifact\._MOST_MANIFEST_BYTES"):
        list(limits_reference.limits())


def test_what_has_no_default_is_not_said_to_have_one():
    page = (write_reference.FOLDER / "commands.md").read_text()
    assert re.findall(r"\(default: (?:None|\[\]|\(\)|False|)\)", page) == []


def test_every_variable_of_a_command_is_told():
    told = (write_reference.FOLDER / "environment.md").read_text()
    for variable in ("RNNSERVE_TOKEN_FILE", "RNNSERVE_CONFIG", "RNNSERVE_MAX_QUEUE"):
        assert f"| `{variable}` |" in told


def test_an_error_without_a_remedy_is_named(monkeypatch):
    monkeypatch.setattr(errors_reference, "REMEDIES", {"InvalidRequest": "x"})
    with pytest.raises(SystemExit, match="NotFound"):
        list(errors_reference.errors_of_server())
