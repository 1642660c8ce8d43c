"""An exported SavedModel as an MLflow model, which needs TensorFlow but no segframe; its registration."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segframe.errors import SegframeError

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

EXAMPLE = "assets.extra/input_example.npy"
"""In the SavedModel: (1, height, width, channels) float32. TensorFlow leaves that folder to others."""
EXAMPLE_SIZE = 64
"""MLflow keeps examples as JSON, 10 bytes a number."""


def log_saved_model(client: MlflowClient, run_id: str, saved_model: Path) -> str:
    """Keep the SavedModel as the run's model: `mlflow.pyfunc.load_model(uri).predict(images)` gives logits.

    It is called with raw images (batch, height, width, channels) float32; its files are those of the run, so
    its predictions are, bit for bit. A run that has its model already keeps it.

    Returns:
        The model's id, of the URI models:/ID.

    Raises:
        SegframeError: the SavedModel cannot be called, as its run is of an older version.
    """
    import tensorflow as tf
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.tensorflow import save_model

    run = client.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        return run.outputs.model_outputs[0].model_id
    signature = _signature(saved_model)
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run_id)
    with tempfile.TemporaryDirectory() as folder:
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        )
        # MLflow's files around an empty module, whose place the SavedModel takes as it is: to load it and
        # save it again would trace the network twice.
        with _environment_without_pip():
            save_model(
                tf.Module(),
                path=f"{folder}/model",
                mlflow_model=model,
                signature=signature,
                input_example=_example(saved_model),
                pip_requirements=_requirements(tf.__version__),
            )
        place = Path(folder, "model", model.flavors["tensorflow"]["saved_model_dir"])
        shutil.rmtree(place)
        shutil.copytree(saved_model, place)
        client.log_model_artifacts(logged.model_id, f"{folder}/model")
    client.finalize_logged_model(logged.model_id, "READY")
    # Last, since it is what says that the model is there.
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return logged.model_id


@contextmanager
def _environment_without_pip() -> Iterator[None]:
    """Where uv made the environment there is no pip for conda.yaml to name: nothing to warn of."""

    def other(record: logging.LogRecord) -> bool:
        return "Failed to resolve installed pip version" not in record.getMessage()

    log = logging.getLogger("mlflow.utils.environment")
    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)


def register(client: MlflowClient, run_id: str, model_id: str, name: str) -> None:
    """Make the model the next version of the registered model `name`, unless the run's is one already."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if not client.search_model_versions(f"name='{name}' and run_id='{run_id}'"):
        # Not models:/ID, which MLflow would look up in the store of its global address.
        place = client.get_logged_model(model_id).artifact_location
        client.create_model_version(name, place, run_id=run_id, model_id=model_id)


def _signature(saved_model: Path) -> ModelSignature:
    """Of its endpoint `serving_default`, read from the file."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.dtypes import as_dtype

    stored = saved_model_pb2.SavedModel()
    stored.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    graph = stored.meta_graphs[0]
    if "__call__" not in [child.local_name for child in graph.object_graph_def.nodes[0].children]:
        raise SegframeError(
            str(saved_model),
            expected="a SavedModel that can be called",
            got="one without __call__, as older versions wrote it",
            remedy="Train the run again, or keep no models: tracker.log_model=false.",
        )

    def schema(infos: Any) -> Schema:
        ((_, info),) = infos.items()
        shape = [dimension.size for dimension in info.tensor_shape.dim]
        return Schema([TensorSpec(as_dtype(info.dtype).as_numpy_dtype().dtype, shape)])

    endpoint = graph.signature_def["serving_default"]
    return ModelSignature(schema(endpoint.inputs), schema(endpoint.outputs))


def _example(saved_model: Path) -> np.ndarray | None:
    """The upper left of the image that the run has left there."""
    import numpy as np

    file = saved_model / EXAMPLE
    return np.load(file)[:, :EXAMPLE_SIZE, :EXAMPLE_SIZE] if file.exists() else None


def _requirements(tensorflow: str) -> list[str]:
    """Written out: MLflow would find them by importing everything in a second process, for 7 seconds."""
    try:
        version("tensorflow-cpu")
    except PackageNotFoundError:
        return [f"tensorflow=={tensorflow}"]
    return [f"tensorflow-cpu=={tensorflow}"]
