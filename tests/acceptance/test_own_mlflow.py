"""A script that calls MLflow itself, recorded by Footplate: both tell the same MLflow run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Footplate = Callable[..., "subprocess.CompletedProcess[str]"]

PIPELINE = """
import mlflow
import mlflow.sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

hyperparameters = {"C": 0.5, "max_iter": 300}


def load_training_data():
    return load_iris(return_X_y=True)


def preprocess(training_data):
    inputs, targets = training_data
    return StandardScaler().fit_transform(inputs), targets


def train_model(processed_data):
    return LogisticRegression(**hyperparameters).fit(*processed_data)


def evaluate_model(model, test_data):
    return {"accuracy": model.score(*test_data)}


def training_pipeline():
    # Load data
    train_data = load_training_data()

    # Preprocess
    processed_data = preprocess(train_data)

    # Train model
    model = train_model(processed_data)

    # Evaluate
    metrics = evaluate_model(model, processed_data)

    # Log to MLflow
    with mlflow.start_run():
        mlflow.log_params(hyperparameters)
        mlflow.log_metrics(metrics)
        mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"])

    return model


training_pipeline()
"""
LOOK = """
import json, sys
import mlflow

client = mlflow.MlflowClient(sys.argv[1])
found = []
for experiment in client.search_experiments():
    models = client.search_logged_models([experiment.experiment_id])
    for run in client.search_runs([experiment.experiment_id]):
        found.append({
            "experiment": experiment.name, "status": run.info.status, "name": run.info.run_name,
            "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
            "models": [model.name for model in models if model.source_run_id == run.info.run_id],
        })
print(json.dumps(found))
"""


def look(tmp_path: Path, uri: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", LOOK, uri]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("experiment", ["", "flowers"])
def test_a_pipeline_that_logs_to_mlflow_yields_one_run(experiment: str, footplate: Footplate, tmp_path: Path) -> None:
    chosen = f"\nmlflow.set_experiment('{experiment}')\n" if experiment else ""
    (tmp_path / "pipeline.py").write_text(PIPELINE.replace("\nhyper", f"{chosen}\nhyper", 1))
    environment = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = footplate("run", "--json", "--", sys.executable, "pipeline.py", env=environment, timeout=200, check=0)
    run_id = json.loads(done.stdout)["run_id"]
    [found] = look(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    assert found["experiment"] == (experiment or "Default")
    assert (found["status"], found["name"]) == ("FINISHED", run_id)
    assert found["params"] == {"C": "0.5", "max_iter": "300"}
    assert found["metrics"]["accuracy"] > 0.9
    assert "system/cpu_percent" in found["metrics"]
    assert found["tags"]["footplate.state"] == "succeeded"
    assert found["models"] == ["model"]


def test_a_tracker_that_cannot_be_reached_does_not_keep_a_script_from_running(
    footplate: Footplate, tmp_path: Path
) -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    command = ["-c", "import os; print(os.environ.get('MLFLOW_RUN_ID'))"]
    done = footplate("run", "--", sys.executable, *command, env=environment, check=0)
    assert "None" in done.stdout
    assert "not told yet" in done.stderr
    status = json.loads(footplate("status", "--json", check=0).stdout)
    assert any("started without its tracker" in text for text in status["evidence"])
