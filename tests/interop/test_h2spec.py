"""h2spec: every case of RFC 7540 and RFC 7541 that it knows, strict ones too, no exceptions."""

import xml.etree.ElementTree as ET

CASES = 146


def test_every_case_passes(run_tool, either, tmp_path):
    report = tmp_path / "report.xml"
    security = [] if either.certificates is None else ["-t", "-k"]
    result = run_tool("h2spec", "-h", "127.0.0.1", "-p", either.port, "-S", "-o", 5, "-j", report, *security)
    cases = ET.parse(report).getroot().findall(".//testcase")
    not_passed = [
        f"{case.get('package')} {case.get('classname')}"
        for case in cases
        if case.find("failure") is not None
        or case.find("error") is not None
        or case.find("skipped") is not None
    ]
    assert not_passed == []
    assert len(cases) == CASES
    assert result.returncode == 0, result.stdout[-2000:]
