"""The documentation as a site: every page is in its navigation, links lead on, and nothing comes from elsewhere."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnserve.protos import manifest_pb2

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "tools"))
build_site, write_reference, artifact_reference = (
    importlib.import_module(name) for name in ("build_site", "write_reference", "artifact_reference")
)


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


def test_the_page_of_the_artifact_has_every_field_of_the_manifest():
    source = artifact_reference.PROTO.read_text()
    found = {one.name: [name for name, _, _ in one.rows] for one in artifact_reference.described(source)}
    described = manifest_pb2.DESCRIPTOR
    messages = {kind.name: [field.name for field in kind.fields] for kind in described.message_types_by_name.values()}
    enums = {kind.name: [value.name for value in kind.values] for kind in described.enum_types_by_name.values()}
    assert found == messages | enums
    with pytest.raises(ValueError, match="is no message's line"):
        list(artifact_reference.described("message A {\n  oneof b {\n"))


def test_an_error_without_a_remedy_is_named(monkeypatch):
    monkeypatch.setattr(write_reference, "REMEDIES", {"InvalidRequest": "x"})
    with pytest.raises(SystemExit, match="NotFound"):
        list(write_reference.errors_of_server())
