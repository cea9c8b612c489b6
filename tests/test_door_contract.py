"""The contract of the doors: what it refuses, and that its words say what to do."""

import grimp
import pytest

from support.door_contract import Door, broken_doors, read_door

ROOM = "rnnserve.server.lane"
USER = "rnnserve.server.app"


def imports(*pairs):
    graph = grimp.ImportGraph()
    for importer, imported in pairs:
        for module in (importer, imported):
            parts = module.split(".")
            for depth in range(2, len(parts) + 1):
                graph.add_module(".".join(parts[:depth]))
        graph.add_import(importer=importer, imported=imported, line_number=7, line_contents="import")
    return graph


def broken(graph, **doors):
    """What is wrong with doors whose packages are written with two underscores for dots, from the area on."""
    rooms = {"rnnserve." + room.replace("__", "."): door for room, door in doors.items()}
    return list(broken_doors(graph, rooms))


def door(*names, own=False):
    return Door(names, own)


def test_a_module_that_the_door_names_is_imported_from_outside():
    graph = imports((USER, f"{ROOM}.dispatcher"), (f"{ROOM}.dispatcher", f"{ROOM}.prefixes"))
    assert broken(graph, server__lane=door("dispatcher")) == []


def test_a_module_that_the_door_does_not_name_is_refused_with_what_to_do():
    (words,) = broken(imports((USER, f"{ROOM}.prefixes")), server__lane=door())
    assert words == (
        "rnnserve.server.app (line 7) imports rnnserve.server.lane.prefixes, and the door of rnnserve.server.lane "
        "names nothing. Import what the door names; or, if others should use `prefixes`, write it into the paragraph "
        '"Door:" in the docstring of rnnserve.server.lane.'
    )


def test_a_name_that_no_other_room_imports_is_refused():
    graph = imports((f"{ROOM}.dispatcher", f"{ROOM}.prefixes"))
    (words,) = broken(graph, server__lane=door("prefixes"))
    assert "names `prefixes`, and no module outside imports it" in words


def test_a_name_that_is_not_there_is_refused():
    (words,) = broken(imports((USER, f"{ROOM}.prefixes")), server__lane=door("prefixes", "gone"))
    assert "names `gone`, and there is no such thing" in words
    (words,) = broken(imports((USER, ROOM)), server__lane=door("__all__"))
    assert "names `__all__`, and there is no such thing" in words


def test_names_of_the_package_itself_stand_at_the_door_as_its_all():
    graph = imports((USER, ROOM))
    assert broken(graph, server__lane=door("__all__", own=True)) == []
    assert "if others should use `__all__`" in broken(graph, server__lane=door(own=True))[0]
    (words,) = broken(imports((USER, f"{ROOM}.prefixes")), server__lane=door("__all__", "prefixes", own=True))
    assert "names `__all__`, and no module outside imports it" in words


def test_an_import_from_deep_inside_passes_each_door():
    graph = imports(("rnnserve.load.runs", "rnnserve.client.commands.options"))
    both = {"client": door("commands"), "client__commands": door("options")}
    assert broken(graph, **both) == []
    assert "door of rnnserve.client names nothing" in broken(graph, **both | {"client": door()})[0]
    assert "door of rnnserve.client.commands names nothing" in broken(graph, **both | {"client__commands": door()})[0]


def test_a_module_is_no_room_because_its_name_begins_like_one():
    graph = imports(("rnnserve.server.lane_transport", f"{ROOM}.prefixes"))
    assert "rnnserve.server.lane_transport (line 7) imports" in broken(graph, server__lane=door())[0]


def test_names_of_an_area_are_for_users():
    graph = imports(("rnnserve.client.channel", "rnnserve.client.errors"))
    assert broken(graph, client=door("__all__", own=True)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Door: nothing.", ()),
        ("Door: `one`.", ("one",)),
        ("Door: `__all__`, `one`,\n`two`.", ("__all__", "one", "two")),
    ],
)
def test_forms_of_a_door(text, names):
    assert read_door(f'"""A room.\n\nImports `errors`; no gRPC.\n\n{text}\n"""\n').names == names
    assert read_door(f'"""A room.\n\n{text}\n\nThreads: `one`.\n"""\n__all__ = ["x"]\n') == Door(names, True)


@pytest.mark.parametrize("text", ["", "Door: one.", "Door: `one` and `two`.", "Door: `one`"])
def test_other_forms_are_refused_with_the_right_ones(text):
    with pytest.raises(ValueError, match=r"write .*`one`, `another`"):
        read_door(f'"""A room.\n\n{text}\n"""\n')
