"""What other repositories use in CI: the action, the hook, the container, the guide's policies, and the bundled one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from onnxscope.audit.measures.table import MEASURES
from onnxscope.audit.policy import read
from onnxscope.audit.schema import CHECK, IMAGES, MODELS, POLICY, check
from onnxscope.cli import main as cli

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import audit_tables
import pages
from pages import ROOT

ACTION = ROOT / ".github" / "actions" / "audit" / "action.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
CONTAINERFILE = ROOT / ".github" / "Containerfile"
BUNDLED = ROOT / "models" / "policy.yaml"
MOST_LINES = 40  # of the action
MOST_POLICY_LINES = 60
BLOCKS = [b for b in pages.blocks(pages.GUIDE / "audit-in-ci.md") if b.language == "yaml"]
SMALL = """
models: {small: {files: [tiny_scores.onnx]}}
checks: {size: {measure: bytes, most: MOST}, opset: {measure: opset, least: 13}}
"""
USED = re.compile(r"inputs\.(\w+)")


def action() -> dict:
    return yaml.safe_load(ACTION.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """A repository with a model and policies: one that holds, and one that does not."""
    (tmp_path / "tiny_scores.onnx").symlink_to(ROOT / "models" / "tiny_scores.onnx")
    (tmp_path / "policy.yaml").write_text(SMALL.replace("MOST", "100000"), encoding="utf-8")
    (tmp_path / "strict.yaml").write_text(SMALL.replace("MOST", "1000"), encoding="utf-8")
    return tmp_path


def environment(**more):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}


def program_in(folder):
    """The program `onnxscope` in a folder, as an installation has it."""
    start = "import sys; from onnxscope.cli.main import main; sys.argv[0] = 'onnxscope'; main()"
    program = folder / "onnxscope"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)


# the action


def test_the_action_is_short_and_uses_each_input():
    text, found = ACTION.read_text(encoding="utf-8"), action()
    assert len(text.splitlines()) <= MOST_LINES
    assert set(found) == {"name", "description", "inputs", "runs"} and found["runs"]["using"] == "composite"
    assert set(USED.findall(text)) == set(found["inputs"])
    assert all(given["description"] for given in found["inputs"].values())
    assert [name for name, given in found["inputs"].items() if given.get("required")] == ["policy"]
    assert all("required" in given or "default" in given for given in found["inputs"].values())


def test_the_steps_of_the_action_name_a_shell_and_put_no_input_into_a_script():
    for step in action()["runs"]["steps"]:
        assert ("run" in step) == ("shell" in step) and ("run" in step) != ("uses" in step)
        assert "${{" not in step.get("run", ""), "an input could hold commands: give it by env"


def test_the_evidence_is_kept_after_a_failure_too():
    last = action()["runs"]["steps"][-1]
    assert last["uses"].startswith("actions/upload-artifact@") and last["if"] == "always()"
    assert last["with"]["path"] == "${{ inputs.evidence }}"


def test_the_action_installs_this_repository():
    (step,) = (s for s in action()["runs"]["steps"] if "pip" in s.get("run", ""))
    (above,) = re.findall(r"\$GITHUB_ACTION_PATH/([./]+)", step["run"])
    assert (ACTION.parent / above).resolve() == ROOT


@pytest.mark.parametrize(("policy", "code"), [("policy.yaml", 0), ("strict.yaml", 1), ("absent.yaml", 2)])
def test_the_step_of_the_audit_runs_and_ends_with_its_exit_code(folder, policy, code):
    (step,) = (s for s in action()["runs"]["steps"] if s.get("name") == "Audit")
    programs = folder / "temporary" / "onnxscope" / "bin"
    programs.mkdir(parents=True)
    program_in(programs)
    inputs = {"policy": policy, "evidence": "kept here", "options": "--workers 1 --seconds 60"}
    given = {
        name: USED.sub(lambda m: inputs[m[1]], value).strip("${} ") for name, value in step["env"].items()
    }
    run = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=environment(RUNNER_TEMP=str(folder / "temporary"), **given),
        capture_output=True,
        text=True,
    )
    assert run.returncode == code, run.stderr
    assert (folder / "kept here" / "audit.sarif").exists() == (code < 2)


# the hook and the container


def test_the_entry_of_the_hook_runs(folder):
    (hook,) = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    assert {"id", "name", "entry", "language"} <= set(hook) and hook["language"] == "python"
    assert hook["pass_filenames"] is False, "an audit takes a policy, not the files that have changed"
    program_in(folder)
    program, *words = [*shlex.split(hook["entry"]), *hook["args"]]
    command = [str(folder / program), *words]
    run = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (folder / "policy.audit" / "audit.json").exists()


@pytest.mark.parametrize(
    ("file", "audited"),
    [
        ("a.onnx", True),
        ("models/a.onnx", True),
        ("a.onnx.data", True),
        ("policy.yaml", True),
        ("models/policy.yaml", True),
        ("mypolicy.yaml", False),
        ("a.onnx.md", False),
        ("a.py", False),
    ],
)
def test_the_hook_runs_when_a_model_or_the_policy_is_committed(file, audited):
    (hook,) = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))
    assert bool(re.search(hook["files"], file)) == audited


def test_the_container_copies_what_is_there_and_does_not_run_as_root():
    lines = CONTAINERFILE.read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    assert {"USER auditor", 'ENTRYPOINT ["onnxscope"]'} <= set(lines)
    assert lines[0].endswith(f"-f {CONTAINERFILE.relative_to(ROOT)} .")


# the guide


def test_the_tables_have_every_key_and_every_measure():
    keys, measures = audit_tables.keys(), audit_tables.measures()
    for name, kind in (("models", MODELS), ("images", IMAGES), ("checks", CHECK)):
        assert all(f"\n| `{name}.NAME.{key}` |" in keys for key in kind["properties"])
    assert all(f"\n| `{key}` |" in keys for key in POLICY["properties"])
    assert all(f"\n| `{name}` |" in measures for name in MEASURES)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: str(block.line))
def test_a_recipe_is_yaml(block):
    assert isinstance(yaml.safe_load(block.text), dict)


def test_the_recipes_use_the_action_and_the_hook_as_they_are():
    recipes = [yaml.safe_load(block.text) for block in BLOCKS]
    (steps,) = (r["jobs"]["audit"]["steps"] for r in recipes if "jobs" in r)
    (step,) = (s for s in steps if "onnxscope" in s.get("uses", ""))
    where = str(ACTION.parent.relative_to(ROOT))
    assert where in step["uses"] and set(step["with"]) <= set(action()["inputs"])
    evidence = action()["inputs"]["evidence"]["default"]
    assert steps[-1]["with"]["sarif_file"] == f"{evidence}/audit.sarif"
    (hooks,) = (r["repos"][0]["hooks"] for r in recipes if "repos" in r)
    known = {hook["id"] for hook in yaml.safe_load(HOOKS.read_text(encoding="utf-8"))}
    assert {hook["id"] for hook in hooks} <= known


def test_the_inputs_of_the_action_are_in_the_guide():
    text = (pages.GUIDE / "audit-in-ci.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in action()["inputs"])


def test_the_failure_is_as_the_guide_shows_it(tmp_path):
    """The log, the JUnit message and the SARIF finding are those of the export with a fault."""
    page = pages.GUIDE / "audit-in-ci.md"
    (block,) = (b for b in pages.blocks(page) if b.language == "sh")
    log, *others = (b.text for b in pages.blocks(page) if b.language == "text")
    (shown,) = (json.loads(b.text) for b in pages.blocks(page) if b.language == "json")
    (tmp_path / "models").symlink_to(ROOT / "models")
    program_in(tmp_path)
    given = environment(COLUMNS="200")
    given["PATH"] = f"{tmp_path}{os.pathsep}{given['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    run = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[: len(log.split())] == log.split()
    report = json.loads((tmp_path / "evidence" / "audit.sarif").read_text(encoding="utf-8"))
    (found,) = report["runs"][0]["results"]
    assert part_of(shown, found)
    said = ElementTree.parse(tmp_path / "evidence" / "audit.junit.xml").find(".//failure").get("message")
    (suite,) = (text for text in others if text.startswith("<testsuite"))
    assert said in " ".join(suite.split())


def part_of(few, all_):
    """Whether all of the first is in the second."""
    if isinstance(few, dict):
        return all(key in all_ and part_of(value, all_[key]) for key, value in few.items())
    if isinstance(few, list):
        return len(few) == len(all_) and all(map(part_of, few, all_))
    return few == all_


# the bundled policy


def test_the_bundled_policy_covers_all_models_and_is_short():
    text = BUNDLED.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_POLICY_LINES
    found = read(BUNDLED)
    assert {file.name for _, file, _ in found.models()} == {f.name for f in BUNDLED.parent.glob("*.onnx")}
    assert {set_: len(pictures.files) for set_, pictures in found.sets.items()} == {
        "scenes": 20,
        "photographs": 2,
    }
    categories = {MEASURES[c.measure].per for c in found.checks}
    assert categories == {"picture", "model", "set"} and len({c.measure for c in found.checks}) >= 25


def test_the_bundled_policy_holds_for_two_models_and_a_few_pictures(tmp_path, capsys):
    """The whole policy is what .ci/run audits; here it is reduced to what takes seconds."""
    stated = yaml.safe_load(BUNDLED.read_text(encoding="utf-8"))
    check(stated, POLICY, "", str(BUNDLED))
    models = BUNDLED.parent
    quick = (
        "proved",
        "ledger adds up",
        "nodes carried",
        "gain on noise",
        "size",
        "opset",
        "no branches",
        "one file",
    )
    reduced = {
        "models": {
            "upscalers": {"files": [str(models / "pixelshuffle_small.onnx")], "images": ["photographs"]},
            "untrained": {**stated["models"]["untrained"], "files": [str(models / "tiny_scores.onnx")]},
        },
        "images": {"photographs": {"folder": str(models / "photographs"), "count": 1}},
        "checks": {name: {**stated["checks"][name], "slices": []} for name in quick},
    }
    policy = tmp_path / "reduced.yaml"
    policy.write_text(yaml.safe_dump(reduced), encoding="utf-8")
    assert cli.run(["audit", str(policy), "--workers", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "pass" and len(report["subjects"]) == 2
    assert {e["check"].partition(":")[0] for e in report["entries"]} == {*quick, "opens and runs"}
