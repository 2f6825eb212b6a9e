"""The schema: accepts what the contract says, refuses what it does not."""

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator

from heldout.audit.report.schema import SCHEMA_VERSION, check_version, schema, validate
from heldout.core.errors import InputError


def test_schema_is_a_schema_of_this_version():
    Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert files("heldout.audit.report").joinpath("schema.json").is_file()


def test_reports_made_from_the_contract_are_valid(report, hostile):
    validate(report)
    validate(json.loads(json.dumps(report)))
    validate(hostile)


@pytest.mark.parametrize("key", schema()["required"])
def test_every_part_must_be_there(report, key):
    del report[key]
    with pytest.raises(InputError, match=key):
        validate(report)


@pytest.mark.parametrize("name", schema()["properties"]["checks"]["required"])
def test_every_check_must_be_there(report, name):
    del report["checks"][name]
    with pytest.raises(InputError, match=name):
        validate(report)


@pytest.mark.parametrize("field", schema()["$defs"]["check"]["required"])
def test_every_field_of_a_check_must_be_there(report, field):
    del report["checks"]["gap"][field]
    with pytest.raises(InputError, match="checks/gap"):
        validate(report)


@pytest.mark.parametrize("field", schema()["$defs"]["number"]["required"])
def test_every_field_of_a_number_must_be_there(report, field):
    del report["checks"]["gap"]["numbers"]["gap"][field]
    with pytest.raises(InputError, match="checks/gap/numbers/gap"):
        validate(report)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("headline", "word"), "perfect"),
        (("checks", "gap", "status"), "ok"),
        (("checks", "gap", "reason"), ""),
        (("checks", "gap", "numbers", "gap", "worse"), "left"),
        (("checks", "gap", "numbers", "gap", "value"), "6.3"),
        (("checks", "gap", "numbers", "gap", "n"), 1.5),
        (("checks", "accuracy", "figures", 0, "kind"), "pie"),
        (("actions", 0, "gain_kind"), "hoped for"),
        (("timings", "report"), -1),
        (("data", "inputs"), "smells"),
    ],
)
def test_wrong_values_are_refused_with_their_place(report, path, value):
    spot = report
    for key in path[:-1]:
        spot = spot[key]
    spot[path[-1]] = value
    with pytest.raises(InputError, match="/".join(map(str, path))):
        validate(report)


def test_ids_of_plugins_can_be_asked_for(report):
    validate(report, ["gap"])
    with pytest.raises(InputError, match="my_plugin"):
        validate(report, ["my_plugin"])


@pytest.mark.parametrize("thing", [None, [], {}, {"checks": {}}, "report.json"])
def test_what_is_no_report_is_refused(thing):
    with pytest.raises(InputError, match="the JSON that heldout audit writes"):
        check_version(thing)


def test_another_version_is_refused(report):
    report["schema_version"] = 7
    with pytest.raises(InputError, match="schema version 7"):
        check_version(report)
