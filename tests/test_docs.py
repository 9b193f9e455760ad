"""Code blocks of the pages in docs run, their links lead somewhere, and workflows are sound."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from pytest_drdrill import FullBackupStrategy

ROOT = Path(__file__).parents[1]
# Pages that need a server of their own are run by the tests of its adapter.
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("README", "files", "http", "nightly-restore")]
WORKFLOWS = sorted((ROOT / "docs" / "ci").glob("*.yml"))
INI = "[pytest]\nfilterwarnings = error\n"


def blocks(page):
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


DRILLS = [
    pytest.param(text, id=f"{page.stem}-{text.split()[1]}")
    for page in PAGES
    for kind, text in blocks(page)
    if kind == "python"
]
COMMANDS = [(page, text) for page in PAGES for kind, text in blocks(page) if kind == "sh"]


@pytest.fixture
def last_night(pytester, monkeypatch):
    """A backup of a few orders, where the drill of the page looks for it."""
    orders = pytester.mkdir("orders")
    for number in range(3):
        (orders / f"{number}.json").write_text('{"total": 7}')
    backups = pytester.path / "backups"
    FullBackupStrategy().create_backup(orders, backups)
    monkeypatch.setenv("BACKUPS", str(backups))
    return backups


@pytest.mark.parametrize("source", DRILLS)
def test_drills_run(pytester, last_night, source):
    pytester.makeini(INI)
    pytester.makepyfile(**{source.split()[1].removesuffix(".py"): source})
    result = pytester.runpytest("--strict-markers", "--dr-fail-unverified")
    assert set(result.parseoutcomes()) == {"passed"}
    assert result.ret == 0


def nightly(pytester):
    ((_, block),) = COMMANDS
    (source,) = [
        each.values[0] for each in DRILLS if each.id == "nightly-restore-test_last_night.py"
    ]
    pytester.makeini(INI)
    pytester.makepyfile(test_last_night=source)
    program, *arguments = shlex.split(block)
    assert program == "pytest"
    return pytester.runpytest(*arguments)


def test_the_nightly_command_passes_and_leaves_its_evidence(pytester, last_night):
    assert nightly(pytester).ret == 0
    assert (pytester.path / "evidence" / "drill.md").is_file()
    record = json.loads((pytester.path / "evidence" / "drill.json").read_text("utf-8"))
    (drill,) = record["drills"]
    assert drill["verdict"] == "passed"
    assert 0 < drill["rpo"]["actual_s"] < 3600


def test_the_nightly_drill_goes_red_with_the_damage_that_the_workflow_does(pytester, last_night):
    workflow = yaml.safe_load(WORKFLOWS[0].read_text("utf-8"))
    steps = {step.get("name"): step for step in workflow["jobs"]["restore"]["steps"]}
    damage = steps["Damage the backups"]
    assert damage["if"] == "inputs.damage"
    subprocess.run(["bash", "-euc", damage["run"]], check=True)
    result = nightly(pytester)
    assert result.ret == 1
    result.assert_outcomes(failed=1)


def test_the_nightly_drill_goes_red_without_a_backup(pytester, last_night, monkeypatch):
    monkeypatch.setenv("BACKUPS", str(pytester.mkdir("empty")))
    assert nightly(pytester).ret == 1


def test_blocks_are_of_kinds_that_are_run_here():
    found = {kind for page in PAGES for kind, _ in blocks(page)}
    assert found <= {"python", "sh"}
    assert len(DRILLS) >= 4
    for each in DRILLS:
        assert re.match(r"# test_\w+\.py\n", each.values[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads
            }
    if page.name != "README.md":
        assert f"]({page.name})" in (page.parent / "README.md").read_text("utf-8")


# -- workflows ------------------------------------------------------------------------------------

TOP = {"name", True, "permissions", "concurrency", "jobs"}  # of YAML 1.1, `on` is true
JOB = {
    *("needs", "if", "runs-on", "timeout-minutes", "environment", "permissions", "env", "steps"),
}
STEP = {"name", "uses", "run", "with", "env", "if"}
CONTEXTS = {"github", "secrets", "vars", "inputs", "runner", "always"}


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request):
    return yaml.safe_load(request.param.read_text("utf-8"))


def every_step(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_a_workflow_has_known_keys_and_runs_on_a_schedule(workflow):
    assert set(workflow) == TOP
    assert workflow["permissions"] == {}
    for each in workflow[True]["schedule"]:
        assert re.fullmatch(r"[1-9]\d? \d+ \* \* \*", each["cron"])
    assert "workflow_dispatch" in workflow[True]
    for job in workflow["jobs"].values():
        assert set(job) <= JOB
        assert 0 < job["timeout-minutes"] <= 60
        assert job["permissions"]
        assert {job.get("needs")} - {None} <= set(workflow["jobs"])
    for step in every_step(workflow):
        assert set(step) <= STEP
        assert len({"uses", "run"} & set(step)) == 1


def test_actions_are_pinned_to_commits_and_say_their_version(workflow):
    used = [step["uses"] for step in every_step(workflow) if "uses" in step]
    assert used
    text = "".join(path.read_text("utf-8") for path in WORKFLOWS)
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each)
        assert re.search(rf"{each} # v\d+\.\d+\.\d+$", text, re.MULTILINE)


def test_secrets_are_seen_by_one_step_that_runs_no_drill(workflow):
    seen = [step for step in every_step(workflow) if "secrets." in json.dumps(step)]
    assert [step["name"] for step in seen] == ["Fetch the backups"]
    assert "secrets." not in seen[0]["run"]
    assert "environment" in workflow["jobs"]["restore"]
    for step in every_step(workflow):  # what others wrote never becomes part of a script
        assert "${{" not in step.get("run", "")


def test_expressions_name_contexts_that_there_are(workflow):
    text = json.dumps(workflow)
    for expression in re.findall(r"\$\{\{ *(.*?) *\}\}", text):
        assert re.fullmatch(r"(\w+)(\.\w+)+", expression)
        assert expression.partition(".")[0] in CONTEXTS
    for each in [*workflow["jobs"].values(), *every_step(workflow)]:
        assert each.get("if", "always()") in {
            "always()",
            "inputs.damage",
            "always() && !inputs.damage",
        }


def test_scripts_are_sound(workflow):
    for step in every_step(workflow):
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_the_workflow_fails_on_what_was_not_verified_and_keeps_the_evidence(workflow):
    steps = workflow["jobs"]["restore"]["steps"]
    (drill,) = [step for step in steps if step.get("name") == "Drill"]
    assert "--dr-fail-unverified" in drill["run"]
    assert not {"if", "continue-on-error"} & set(drill)
    (upload,) = [step for step in steps if "upload-artifact" in step.get("uses", "")]
    assert upload["if"] == "always()"
    assert upload["with"]["if-no-files-found"] == "error"
    for name in re.findall(r"=(evidence/[\w.]+)", drill["run"]):
        assert name.startswith(upload["with"]["path"])


def test_the_history_is_kept_by_a_job_that_runs_nothing_of_the_repository(workflow, tmp_path):
    keep = workflow["jobs"]["keep"]
    assert keep["permissions"] == {"contents": "write"}
    assert workflow["jobs"]["restore"]["permissions"] == {"contents": "read"}
    script = keep["steps"][-1]["run"]
    assert not re.search(r"\b(python|pip|pytest|make|npm)\b", script)

    origin, night = tmp_path / "origin.git", tmp_path / "night"
    night.mkdir()
    (night / "drill.json").write_text("{}")
    (night / "drill.md").write_text("# red")
    git("init", "-q", "--bare", "-b", "main", origin)
    for run in ("101", "102"):
        clone = tmp_path / run
        git("clone", "-q", origin, clone)
        if run == "101":
            (clone / "code.py").write_text("pass")
            git("-C", clone, "add", ".")
            git("-C", clone, *IDENTITY, "commit", "-qm", "code")
            git("-C", clone, "push", "-q", "origin", "HEAD:main")
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "NIGHT": str(night),
            "GITHUB_RUN_ID": run,
            "GITHUB_RUN_ATTEMPT": "1",
        }
        subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=clone,
            env=environment,
            check=True,
            capture_output=True,
        )
    kept = git("-C", origin, "ls-tree", "-r", "--name-only", "dr-evidence").splitlines()
    assert [re.sub(r"^\d{4}/\d\d/\d\d", "DAY", name) for name in kept] == [
        *("DAY-101-1/drill.json", "DAY-101-1/drill.md"),
        *("DAY-102-1/drill.json", "DAY-102-1/drill.md"),
    ]
    assert git("-C", origin, "rev-list", "--count", "dr-evidence").strip() == "2"


IDENTITY = ("-c", "user.name=x", "-c", "user.email=x@example.com")


def git(*arguments):
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout
