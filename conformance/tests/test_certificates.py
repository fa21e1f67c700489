"""The command, certificates, and whether backends agree."""

import copy
import json
import subprocess
import sys

import pytest

from attent.reference import NumpyLearner
from attent_conformance import Subject, agree, certificate, examine
from attent_conformance.command import main


@pytest.fixture(scope="module")
def whole():
    """Return a complete certificate of NumPy."""
    subject = Subject.named("numpy")
    return json.loads(json.dumps(certificate.certificate(subject, examine(subject))))


@pytest.fixture
def content(whole):
    return copy.deepcopy(whole)


def written(folder, **contents):
    for name, one in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(one))
    return str(folder)


def test_a_certificate_says_what_ran_on_what(content):
    assert (content["backend"], content["passed"], content["complete"], content["device"]) == (
        "numpy",
        True,
        True,
        "cpu",
    )
    assert set(content["versions"]) == {"attent", "attent-conformance", "numpy"}
    assert set(content["platform"]) == {"python", "system", "machine"}
    assert {check["status"] for check in content["checks"]} == {"pass"}
    assert set(content["digests"]) == {"classes", "next-token", "two-tasks", "padded", "weighted"}


def test_a_genuine_certificate_is_verified(content, tmp_path, capsys):
    written(tmp_path, numpy=content)
    assert main(["--verify", str(tmp_path / "numpy.json")]) == 0
    said = capsys.readouterr().out
    assert "verified: 282 epochs' digests equal the golden table" in said
    assert "not verifiable here: margins, seconds, and that numpy was what ran" in said


def test_a_certificate_that_cannot_be_written_is_told_before_any_check(tmp_path, capsys):
    nowhere = tmp_path / "none"
    for target, reason in ((nowhere / "x.json", f"there is no folder {nowhere}"), (tmp_path, "it is a folder")):
        assert main(["numpy", "--rules", "B1", "--json", str(target)]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.startswith(f"attent-conformance: cannot write {target}: {reason}")) == ("", True)


def change_digest(content):
    content["digests"]["padded"]["hard/incremental/fresh"][0][0] = "0" * 64


def drop_check(content):
    del content["checks"][3]


def drop_epoch(content):
    del content["digests"]["classes"]["hard/linear/fresh"][2]


def hide_failure(content):
    content["checks"][5]["status"] = "fail"


def rename_check(content):
    content["checks"][5]["check"] = "nothing"


def forget_digests(content):
    del content["digests"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_digest, "padded, hard/incremental/fresh, epoch 0: .* but golden is"),
        (drop_check, "calls itself complete, but holds 44 of 45 checks"),
        (drop_epoch, "classes holds digests of 155 epochs, a complete run has 156"),
        (hide_failure, "passed is True, which its checks do not bear out"),
        (rename_check, "no check 'nothing' for rule"),
        (forget_digests, "is not a certificate: it lacks 'digests'"),
    ],
)
def test_a_forged_certificate_is_found_out(content, change, message, tmp_path, capsys):
    change(content)
    written(tmp_path, numpy=content)
    assert main(["--verify", str(tmp_path / "numpy.json")]) == 1
    with pytest.raises(certificate.CertificateError, match=message):
        certificate.verify(certificate.read(tmp_path / "numpy.json"))
    assert agree.main([str(tmp_path), "--expect", "numpy"]) == 1


def test_backends_that_agree(content, tmp_path, capsys):
    folder = written(tmp_path, numpy=content, mine={**content, "backend": "mine"})
    assert agree.main([folder, "--expect", "numpy,mine"]) == 0
    said = capsys.readouterr().out
    assert "2 backends agree: mine, numpy" in said
    assert "L1          pass   pass" in said
    assert "classes     156    156" in said


def test_a_missing_certificate_is_a_fault(content, tmp_path, capsys):
    assert agree.main([written(tmp_path, numpy=content), "--expect", "numpy,mine"]) == 1
    assert "agree: mine: no certificate" in capsys.readouterr().err


def test_an_empty_folder_is_a_fault(tmp_path, capsys):
    assert agree.main([str(tmp_path), "--expect", "numpy"]) == 1
    assert "nothing is proved" in capsys.readouterr().err


def test_a_failure_or_an_incomplete_run_is_a_fault(content):
    content["checks"][5]["status"], content["passed"], content["complete"] = "fail", False, False
    told = agree.faults({"numpy": content}, ["numpy"])
    assert any("failed" in fault for fault in told)
    assert any("not of a complete run" in fault for fault in told)


def test_a_certificate_without_digests_compares_nothing(content):
    content["digests"] = {}
    assert "numpy: no digests, so there is nothing to compare" in agree.faults({"numpy": content}, ["numpy"])


def test_digests_are_compared_with_each_other_too(content):
    other = copy.deepcopy(content["digests"])
    change_digest({"digests": other})
    assert agree._differences("one", content["digests"], "two", other) == [
        "one and two differ in padded, hard/incremental/fresh, epoch 0"
    ]


def test_two_certificates_of_one_backend_are_refused(content, tmp_path, capsys):
    assert agree.main([written(tmp_path, a=content, b=content), "--expect", "numpy"]) == 1
    assert "two certificates of backend 'numpy'" in capsys.readouterr().err


def test_the_command_prints_a_line_per_check_and_writes_a_certificate(tmp_path, capsys):
    assert main(["numpy", "--rules", "P5,S2", "--json", str(tmp_path / "c.json")]) == 0
    said = capsys.readouterr().out
    assert "P5  the_split_of_scoring_does_not_matter" in said
    assert "2 passed, 0 failed, 0 skipped" in said
    content = certificate.read(tmp_path / "c.json")
    assert not content["complete"]
    assert certificate.verify(content)


def test_the_command_fails_where_no_check_runs(capsys):
    assert main(["numpy", "--rules", "L1", "--dtype", "float32"]) == 1
    assert "no check ran, so nothing is proved" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "no backend 'nowhere'. Installed:"), (["numpy", "--rules", "X1"], "no check for rule 'X1'")],
)
def test_what_cannot_be_run_is_told(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_checks_are_listed_with_what_they_need(capsys):
    assert main(["--list", "--rules", "L2"]) == 0
    assert "L2  float32_language_model_stays_in_its_band [float32, next-token]" in capsys.readouterr().out


def test_the_command_sets_one_thread_before_a_library_is_loaded():
    script = (
        "import sys, attent_conformance.command as c; loaded = 'numpy' in sys.modules; c.main(['--list']);"
        "import os; print(loaded, os.environ['OMP_NUM_THREADS'])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False 1"


def test_a_subject_without_a_plugin_has_a_certificate_too():
    subject = Subject("mine", NumpyLearner, quick=True)
    content = certificate.certificate(subject, examine(subject, "P5"))
    assert (content["backend"], content["complete"], content["passed"]) == ("mine", False, True)
