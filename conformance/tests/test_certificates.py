"""The command, certificates, and whether backends agree."""

import copy
import json
import subprocess
import sys

import pytest

from attent import plugins
from attent.reference import NumpyLearner
from attent_conformance import CHECKS, Result, Subject, agree, certificate, examine
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
    assert (content["dtypes"], content["seed"], content["evaluates"]) == (["float64", "float32"], 0, True)
    assert set(content["versions"]) == {"attent", "attent-conformance", "numpy"}
    assert set(content["platform"]) == {"python", "system", "machine"}
    assert {check["status"] for check in content["checks"] if check["rule"][0] != "W"} == {"pass"}
    assert {check["status"] for check in content["checks"] if check["rule"][0] == "W"} == {"skip"}  # NumPy has none
    assert set(content["digests"]) == {"classes", "next-token", "two-tasks", "padded", "policies", "weighted"}


def test_a_genuine_certificate_is_verified(content, tmp_path, capsys):
    written(tmp_path, numpy=content)
    assert main(["--verify", str(tmp_path / "numpy.json")]) == 0
    said = capsys.readouterr().out
    assert "verified: 353 epochs' digests equal the golden table" in said
    assert "not verifiable here: margins, seconds, and that numpy was what ran" in said


def edited(*path, to=None):
    """Return a function that sets what lies at the end of a path, or deletes it."""

    def change(content):
        *way, last = path
        for step in way:
            content = content[step]
        if to is None:
            del content[last]
        else:
            content[last] = to

    return change


def rename_plan(content):
    plans = content["digests"]["classes"]
    plans["soft/mine/fresh"] = plans.pop("hard/linear/fresh")


def move_epochs(content):
    plans = content["digests"]["classes"]
    plans["soft/linear/fresh"] += plans.pop("hard/linear/fresh")


def skip(content, *letters):
    for check in content["checks"]:
        if check["rule"][0] in letters:
            check["status"] = "skip"


def repeat_check(content):
    content["checks"].append(content["checks"][3])


change_digest = edited("digests", "padded", "hard/incremental/fresh", 0, 0, to="0" * 64)
FORGED = {
    "another digest": (change_digest, "padded, hard/incremental/fresh, epoch 0: .* but golden is"),
    "a check dropped": (
        edited("checks", 3),
        f"calls itself complete, but holds {len(CHECKS) - 1} of {len(CHECKS)} checks",
    ),
    "a check twice": (repeat_check, "it holds .* 2 times"),
    "an epoch dropped": (
        edited("digests", "classes", "hard/linear/fresh", 2),
        "classes, hard/linear/fresh: digests of 2 epochs, a complete run has 3",
    ),
    "a run dropped": (
        edited("digests", "padded"),
        "padded, hard/incremental/fresh: digests of 0 epochs, a complete run has 3",
    ),
    "a plan renamed": (rename_plan, "classes, soft/mine/fresh: digests of an unknown plan"),
    "epochs moved": (move_epochs, "classes, soft/linear/fresh: digests of 6 epochs, it has 3"),
    "a run unknown": (edited("digests", "mine", to={}), "digests of an unknown run 'mine'"),
    "a failure hidden": (edited("checks", 5, "status", to="fail"), "passed is True, which its checks do not bear out"),
    "lock-step skipped": (lambda it: skip(it, "L"), "is skipped, though nothing it needs is lacking"),
    "all but B skipped": (lambda it: skip(it, *"SPALR"), "is skipped, though nothing it needs is lacking"),
    "an ability hidden": (
        edited("abilities", to=["float64", "float32", "lengths", "next-token", "tasks"]),
        "is not skipped, though it needs 'weights', not declared",
    ),
    "no plugin": (edited("plugin", to=False), "is not skipped, though it needs 'plugin', not declared"),
    "a check renamed": (
        edited("checks", 5, "check", to="nothing"),
        "no check 'nothing' for rule .* of attent-conformance 0.1.0",
    ),
    "no digests": (edited("digests"), "is not a certificate: Object missing required field `digests`"),
    "digests in a list": (edited("digests", to=[]), r"Expected `object`, got `array` - at `\$.digests`"),
    "a status unknown": (edited("checks", 2, "status", to="fine"), "Invalid enum value 'fine'"),
    "a check without rule": (edited("checks", 0, "rule"), r"missing required field `rule` - at `\$.checks\[0\]`"),
    "passed as text": (edited("passed", to="yes"), r"Expected `bool`, got `str` - at `\$.passed`"),
    "no version of the suite": (
        edited("versions", "attent-conformance"),
        "does not say the version of attent-conformance",
    ),
    "another format": (
        edited("format", to=2),
        "has format 2, this version reads format 3: write it anew by attent-conformance numpy --json numpy.json",
    ),
    "a precision dropped": (edited("dtypes", to=["float64"]), "does not cover float32, which it declares"),
    "a precision unknown": (
        edited("dtypes", to=["float16"]),
        r"dtypes must be out of float64, float32, each once, got",
    ),
    "no precisions": (edited("dtypes"), "missing required field `dtypes`"),
    "evaluate hidden": (edited("evaluates", to=False), "is not skipped, though it needs 'held-out', not declared"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_certificate_is_found_out(content, what, tmp_path, capsys):
    change, message = FORGED[what]
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
    assert "L1          pass     pass" in said
    assert "classes     156      156" in said
    assert "float32     covered  covered" in said


def test_a_missing_certificate_is_a_fault(content, tmp_path, capsys):
    assert agree.main([written(tmp_path, numpy=content), "--expect", "numpy,mine"]) == 1
    assert "agree: mine: no certificate" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["attent", "attent-conformance"])
def test_certificates_of_different_versions_are_a_fault(content, package, tmp_path, capsys):
    other = {**content, "backend": "mine", "versions": {**content["versions"], package: "0.0.9"}}
    assert agree.main([written(tmp_path, numpy=content, mine=other), "--expect", "numpy,mine"]) == 1
    assert (
        f"agree: certificates are of different versions of {package}: mine 0.0.9, numpy 0.1.0; renew them with one"
        in capsys.readouterr().err
    )


def test_a_certificate_that_cannot_be_written_is_told_before_any_check(tmp_path, capsys):
    nowhere = tmp_path / "none"
    for target, reason in ((nowhere / "x.json", f"there is no folder {nowhere}"), (tmp_path, "it is a folder")):
        assert main(["numpy", "--rules", "B1", "--json", str(target)]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.startswith(f"attent-conformance: cannot write {target}: {reason}")) == ("", True)


@pytest.mark.parametrize(
    ("folder", "expected", "message"),
    [(".", " , ", "--expect must name at least one backend"), ("nowhere", "numpy", "no folder nowhere")],
)
def test_agree_is_told_what_to_expect_and_where(folder, expected, message, capsys):
    with pytest.raises(SystemExit):
        agree.main([folder, "--expect", expected])
    assert message in capsys.readouterr().err


def test_one_precision_makes_no_complete_certificate():
    subject = Subject("mine", NumpyLearner, dtypes=("float64",), quick=False)
    results = [Result(check, "pass", "", {}, 0.0) for check in CHECKS]
    assert not certificate.certificate(subject, results)["complete"]


def test_a_backend_without_lengths_has_a_complete_certificate_without_their_run(content):
    content["abilities"].remove("lengths")
    for check in content["checks"]:
        if check["check"] in ("padded_sequences_run_in_lock_step", "padding_counts_for_nothing"):
            check["status"] = "skip"
    with pytest.raises(certificate.CertificateError, match="digests of the run 'padded', whose check .* was not run"):
        certificate.verify(content)
    del content["digests"]["padded"]
    assert agree.faults({"numpy": content}, ["numpy"]) == []


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
    assert (
        main(["numpy", "--rules", "the_split_of_scoring_does_not_matter,S2", "--json", str(tmp_path / "c.json")]) == 0
    )
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
    [
        (["nowhere"], "no backend 'nowhere'. Installed:"),
        (["numpy", "--rules", "X1"], "no check for rule 'X1'"),
        (["numpy", "--device", "cuda"], "numpy cannot be examined on 'cuda': its reference function has no argument"),
    ],
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


def test_a_package_that_is_missing_spoils_no_certificate():
    backend = plugins.backend("numpy")._replace(packages=("not-a-package",))
    subject = Subject("numpy", NumpyLearner, backend=backend)
    content = certificate.certificate(subject, examine(subject, "what_the_backend_names_is_there"))
    assert content["versions"]["not-a-package"] == "not installed"
    assert (content["passed"], content["checks"][0]["rule"], content["checks"][0]["status"]) == (False, "B3", "fail")


def test_a_precision_that_is_not_examined_is_refused():
    with pytest.raises(ValueError, match="dtypes must be out of float64, float32, got 'float16'"):
        Subject("mine", NumpyLearner, dtypes=("float16",))


def test_a_failure_is_reproduced_as_it_was_found():
    subject = Subject("mine", lambda *data, device, **rest: None, device="cuda:1", dtypes=("float32",), quick=True)
    subject.backend = plugins.backend("numpy")
    assert subject.command("L2") == "attent-conformance mine --rules L2 --device cuda:1 --dtype float32 --quick"
